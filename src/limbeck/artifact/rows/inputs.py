"""Raw inputs of an artifact: what the command line reads, and rows as a user would send them.

A row of a table or of JSON lines has its text in one column (`columns`), and its other columns come
back with the answer. What cannot be read is an item with a problem: every row is answered.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.artifact.rows.columns import MESSAGES, ColumnFinder
from limbeck.artifact.rows.records import (
    FORMAT_OF_SUFFIX,
    SURROGATE,
    WORD_COLUMNS,
    Dialect,
    Record,
    encoding_for,
    format_of,
    listed,
    read_records,
    stream_records,
)
from limbeck.artifact.rows.word_columns import are_word_columns, sentences, spooled
from limbeck.core import yaml12
from limbeck.core.files import naming, read_at_most, require_file
from limbeck.sources import Row, text_folder
from limbeck.sources._cells.record import as_list, as_sentences, cell_text, words_of
from limbeck.sources._files import Lines
from limbeck.sources._images import SUFFIXES
from limbeck.sources.jsonl import flat
from limbeck.tasks.chat.conversation import conversation


@dataclass(frozen=True)
class Item:
    """One row to answer.

    `line`: of its file, from 1, where the row begins; of Parquet and JSON arrays the row, of images
    their place. `raw`: the input. `shown`: how the answer names it. `others`: the row's
    other columns. `problem`: why it cannot be answered. `file`: where several are read.
    """

    line: int
    raw: Any
    shown: Any
    others: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None
    file: str | None = None


def recipe_data(folder: Path) -> dict[str, Any]:
    """The keys of `data` in an artifact's recipe.yaml; none where there is no recipe."""
    path = folder / "recipe.yaml"
    if not path.is_file():
        return {}
    require_file(path)
    with open(path, "rb") as file:
        content = read_at_most(file, yaml12.MOST_CHARACTERS, str(path))
    _, recipe = yaml12.load(content.decode("utf-8", "replace"), str(path))
    data = recipe.get("data") if isinstance(recipe, dict) else None
    return data if isinstance(data, dict) else {}


def tell_nobody(note: str) -> None:
    """Where no command line is there to tell."""


@dataclass(frozen=True)
class Reading:
    """How rows become inputs.

    `finder`: which columns hold them. `form`: a format of `records.FORMATS`; left out, by the
    file's suffix. `names`: of a table's columns, where its first line does not name them. `tell`:
    is told once of each choice that was made by what stood out.
    """

    finder: ColumnFinder
    form: str | None = None
    names: Sequence[str] | None = None
    tell: Callable[[str], None] = tell_nobody
    told: set[str] = field(default_factory=set, init=False)
    # The columns of the first row of a file that has its input: those that every row must have.
    read_from: dict[str, str] = field(default_factory=dict, init=False)

    @property
    def kind(self) -> str:
        """What the artifact reads: `text`, `words` or `image`."""
        return self.finder.kind

    @property
    def dialect(self) -> Dialect:
        """How tables are written: as those of the recipe, where they do not say it themselves."""
        recipe = self.finder.recipe
        has_quotes = recipe.get("quoting") != "none"
        delimiter, encoding = recipe.get("delimiter"), recipe.get("encoding")
        above = int(recipe.get("skip_lines") or 0)
        return Dialect(delimiter, encoding, self.names_for, has_quotes, above, self.begins_table)

    def begins_table(self, line: str) -> bool:
        """Whether a line is the first of a table as training had it: the columns' names, or as many
        cells."""
        recipe = self.finder.recipe
        columns = recipe.get("columns")
        if columns:
            mark = "\t" if recipe.get("source") == "tsv" else recipe.get("delimiter") or ","
            return line.count(mark) >= len(columns) - 1
        named = [str(recipe[key]) for key in ("text", "text_b", "words") if recipe.get(key)]
        return bool(named) and all(name in line for name in named)

    def names_for(self, fields: list[str]) -> list[str] | None:
        """As `ColumnFinder.names_for`; what was found is told."""
        names = self.finder.names_for(fields, self.names)
        if names and self.names is None:
            self.say(f"the first line is read as a row, whose columns are {', '.join(names)}")
        return names

    @property
    def reads_whole_files(self) -> bool:
        """Whether a file is one text, as it was in training."""
        return self.form is None and self.finder.recipe.get("source") == "text_folder"

    def reads_word_columns(self, path: Path) -> bool:
        """Whether a file holds words in columns, as those of training did."""
        if self.kind != "words" or not path.is_file():
            return False
        is_free = self.form is None and are_word_columns(path, self.finder.recipe)
        return is_free or self.form == WORD_COLUMNS

    def say(self, note: str) -> None:
        """Tell a note that was not told before; an empty one is none."""
        if note and note not in self.told:
            self.told.add(note)
            self.tell(note)

    def item(self, record: Record, place: Path | None = None) -> Item:
        """A record as an item. `place`: the folder that paths of images are relative to."""
        content = record.content
        # Where training had no column of an object in another, these come back as they were sent.
        named = [str(self.finder.recipe.get(key) or "") for key in ("text", "text_b", "label")]
        if any("." in name for name in named):
            content = flat(content)
        if record.problem:
            return Item(record.line, None, content, problem=record.problem)
        if not isinstance(content, dict):
            return Item(record.line, _from(content, place, self.kind), content)
        try:
            found = self.found(content)
            cells = {name: self.cell(content[column], column) for name, column in found.items()}
        except ValueError as error:
            return Item(record.line, None, content, problem=str(error))
        # They come back with the answer: an id, a date, the label that is to be compared.
        others = {name: cell for name, cell in content.items() if name not in found.values()}
        if "text_b" in cells or MESSAGES in cells:
            return Item(record.line, cells, cells, others)
        ((name, cell),) = cells.items()
        shown = shown_cell(content[found[name]], cell)
        return Item(record.line, _from(cell, place, self.kind), shown, others)

    def form_of(self, path: Path) -> str:
        """The format of a file: by its suffix, or the table that training read under such a one
        (`train.txt` of text and label between tabs), where its first line has as many columns."""
        form, recipe = format_of(path), self.finder.recipe
        source, columns = recipe.get("source"), recipe.get("columns") or []
        if form != "lines" or source not in ("csv", "tsv") or len(columns) < 2:
            return form
        mark = "\t" if source == "tsv" else recipe.get("delimiter") or ","
        first = next(iter(Lines(path, recipe.get("encoding"))), "")
        # A line of text alone is one to be answered as it stands.
        return str(source) if first.count(mark) == len(columns) - 1 else form

    def require_table(self, form: str, place: str) -> None:
        """Raise ValueError where columns are named (--columns) for what has none, and where words
        in columns are asked for and nothing is tagged."""
        if form == WORD_COLUMNS:
            raise ValueError(f"{place}: --format conll is for words to tag; this reads {self.kind}")
        if self.names and form not in ("csv", "tsv"):
            raise ValueError(
                f"{place}: --columns names those of a table, and this is read as {form}. Say how "
                "its columns part: --format tsv (tabs) or --format csv"
            )

    def found(self, content: Mapping[str, Any]) -> dict[str, str]:
        """Which column of a row holds what. Raises ValueError where none holds the input, be it
        that the rows before it had theirs in a column that this one lacks."""
        before = list(self.read_from.values())
        lacks = [name for name in before if name not in content]
        if lacks and not self.finder.may_hold(content, before):
            raise ValueError(
                f"no column of the {self.finder.main} here: the rows above have theirs in "
                f"`{lacks[0]}`. Columns of this row: {listed(list(content))}"
            )
        found = self.finder.find(content)
        self.say(found.note)
        if not self.read_from:
            self.read_from.update(found.columns)
        return found.columns

    def cell(self, value: Any, column: str) -> Any:
        """What a cell holds, for the task. Raises ValueError."""
        if column == MESSAGES and self.finder.writes:
            return conversation(value)
        if self.kind == "image":
            # Tables of the Hub hold a file's bytes beside its path.
            inner = value.get("bytes") or value.get("path") if isinstance(value, dict) else value
            if isinstance(inner, str | bytes) and inner:
                return inner
            raise ValueError(f"{column}: neither a path of an image nor its bytes")
        # A list, or a text that training would read as one.
        is_words = isinstance(value, list) or column == self.finder.recipe.get("words")
        if self.kind == "words" and is_words and value:
            words = words_of(as_list(value, column), column)
            return tuple(cell_text(word, column) for word in words)
        return cell_text(value, column)


def read_items(source: str | None, stdin: Any, reading: Reading) -> Iterator[Item]:
    """The rows of `limbeck predict` in order, each with its number.

    source: a file or folder; None, or `-`, is standard input. For images: an image, a table of
        their paths, or a folder that is searched to its depths. For texts: a table, JSON lines or
        one text a line, by the suffix, or a folder with such files.
    stdin: standard input, in bytes.

    Where training read a text of each file, or words in columns, so is it here.

    Raises ValueError for a path that does not exist, a folder without anything to read, and a file
    that cannot be read at all.
    """
    # 1. Standard input has no suffix: lines, unless an option says otherwise.
    if source in (None, "-"):
        form = reading.form or "lines"
        if form == WORD_COLUMNS:
            with spooled(stdin) as file:
                yield from read_items(str(file), None, reading)
            return
        reading.require_table(form, "standard input")
        with naming("standard input"):
            for record in _of_table(stream_records(stdin, form, reading.dialect), form, reading):
                yield checked(reading.item(record))
        return
    path = Path(str(source))
    try:
        path.stat()
    except (OSError, ValueError):  # of a name that is too long, such as a text, or holds a NUL
        raise ValueError(f"{path}: no such file or folder") from None
    # 2. Files that are one input each, or words in columns, as in training.
    if reading.kind == "image" and (path.is_dir() or format_of(path) == "lines"):
        for number, file in enumerate(_image_files(path), 1):
            yield Item(number, str(file), str(file))
        return
    if reading.reads_whole_files and (path.is_dir() or text_folder.is_text_name(path.name)):
        yield from _whole_files(path, reading)
        return
    if reading.reads_word_columns(path):
        for line, words, problem in sentences(path, reading.finder.recipe):
            yield Item(line, tuple(words), words, problem=problem)
        return
    # 3. Tables and lines, file after file.
    files = _table_files(path) if path.is_dir() else [path]
    for file in files:
        form = reading.form or reading.form_of(file)
        reading.require_table(form, str(file))
        reading.read_from.clear()
        try:
            for record in _of_table(read_records(file, form, reading.dialect), form, reading):
                item = checked(reading.item(record, file.parent))
                yield item if len(files) == 1 else _of_file(item, str(file))
        except ValueError as error:
            # A reader of training data names the file already.
            named = str(error).startswith(str(file))
            raise ValueError(str(error) if named else f"{file}: {error}") from None


def _whole_files(path: Path, reading: Reading) -> Iterator[Item]:
    """Each file, or each that may be a text below a folder, as one text. Raises ValueError for a
    folder without any."""
    names = text_folder.names_in(path) if path.is_dir() else [""]
    if not names:
        raise ValueError(f"{path}: no file of a text here. Suffixes: .txt, .eml, or none")
    for number, name in enumerate(names, 1):
        file = str(path / name)
        try:
            encoding = encoding_for(Path(file), reading.finder.recipe.get("encoding"))
            text = text_folder.read_text(Path(file), encoding)
        except ValueError as error:
            # One file that is no text does not end the others' answers.
            yield Item(number, None, None, problem=str(error), file=file)
            continue
        yield checked(Item(number, text, text, file=file))


def _in_sentences(records: Iterable[Record], recipe: Mapping[str, Any]) -> Iterator[Record]:
    """Records of a word each, as those of a sentence each, where the recipe names its column."""
    sentence = recipe.get("sentence")
    lists = [str(recipe[key]) for key in ("words", "tags") if recipe.get(key)]

    def is_word(record: Record) -> bool:
        return (
            not record.problem and isinstance(record.content, dict) and sentence in record.content
        )

    for are_words, group in groupby(records, is_word):
        if not are_words:
            yield from group
            continue
        numbered = ((str(record.line), record.content) for record in group)
        # Looked at for its columns, and put back before the rest.
        first = next(numbered)
        columns = [column for column in lists if column in first[1]]
        for line, content in as_sentences(chain([first], numbered), str(sentence), columns):
            yield Record(int(line), content)


def _of_table(records: Iterable[Record], form: str, reading: Reading) -> Iterator[Record]:
    """The records. Raises ValueError where all of them, of a table, lack the column."""
    has_header = form in ("csv", "tsv", "parquet")
    if reading.kind == "words" and reading.finder.recipe.get("sentence"):
        records = _in_sentences(records, reading.finder.recipe)
    for record in records:
        # Of rows with the same columns the first says for all that the input is missing.
        if has_header and not record.problem:
            reading.found(record.content)
            has_header = False
        yield record


def shown_cell(content: Any, cell: Any) -> Any:
    """How an answer names its input: bytes by the path that stands beside them, if one does."""
    if not isinstance(cell, bytes):
        return cell
    return content.get("path") if isinstance(content, dict) else None


def checked(item: Item) -> Item:
    """The item, with a problem where its text is blank or holds half of a character pair."""
    if item.problem:
        return item
    # A pair is a dict, a sentence of words a tuple.
    texts = list(item.raw.values()) if isinstance(item.raw, dict) else item.raw
    for text in texts if isinstance(texts, list | tuple) else [texts]:
        problem = None
        if isinstance(text, str) and (wrong := SURROGATE.search(text)):
            problem = (
                f"character {wrong.start() + 1}: half of a character pair, U+{ord(wrong.group()):X}"
                ", which is no text. Remove it"
            )
        elif isinstance(text, str) and not text.strip():
            problem = "an empty line has nothing to answer"
        if problem:
            return Item(item.line, None, item.shown, item.others, problem)
    return item


def read_inputs(source: str | None, stdin: Any, *, images: bool) -> Iterator[Any]:
    """The raw inputs of `limbeck bench`, in order; blank lines are skipped.

    source, stdin: as in `read_items`. images: whether the artifact reads images.

    Raises ValueError as `read_items` does, and for the first row that cannot be read.
    """
    finder = ColumnFinder("image" if images else "text", {}, {})
    for item in read_items(source, stdin, Reading(finder)):
        if isinstance(item.shown, str) and not item.shown.strip():
            continue
        if item.problem:
            place = source or "standard input"
            raise ValueError(f"{place}:{item.line}: {item.problem}")
        yield item.raw


def _from(content: Any, place: Path | None, kind: str) -> Any:
    """An input; a relative path of an image is that beside its table, where it is there."""
    if kind == "image" and isinstance(content, str) and place is not None:
        beside = place / content
        return str(beside) if len(content) < 4096 and beside.is_file() else content
    return content


def _of_file(item: Item, file: str) -> Item:
    return Item(item.line, item.raw, item.shown, item.others, item.problem, file)


def _image_files(path: Path) -> list[Path]:
    """The image at `path`, or the images below the folder, sorted by path. Raises ValueError."""
    return _files(path, SUFFIXES, path.rglob, "image") if path.is_dir() else [path]


def _table_files(path: Path) -> list[Path]:
    """The texts and tables in a folder, sorted by name. Raises ValueError."""
    return _files(path, set(FORMAT_OF_SUFFIX), path.glob, "file of texts")


def _files(
    path: Path, suffixes: Iterable[str], search: Callable[[str], Iterable[Path]], what: str
) -> list[Path]:
    # Sorted, because a folder lists its files in no order that two machines share.
    files = sorted(file for file in search("*") if file.suffix.lower() in suffixes)
    # What begins with a dot is left by systems and editors.
    files = [file for file in files if not is_hidden(file.relative_to(path))]
    if not files:
        raise ValueError(f"{path}: no {what} here. Suffixes: {', '.join(sorted(suffixes))}")
    return files


def is_hidden(path: Path) -> bool:
    """Whether a file, or a folder on its way, begins with a dot."""
    return any(part.startswith(".") for part in path.parts)


def raw(row: Row) -> Any:
    """A row as a user would send it: a text, a pair of texts, a dialogue whose last answer is still
    to come, or the bytes of a PNG file."""
    if "words" in row:
        # A user sends a sentence, and the task splits it.
        return " ".join(row["words"])
    if "text_b" in row:
        return (row["text"], row["text_b"])
    if "text" in row:
        return row["text"]
    if "messages" in row:
        return {"messages": before_last_answer(row["messages"])}
    # As a file, so that decoding it is part of what is timed.
    return png(row["image"])


def before_last_answer(messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The messages before the assistant's last one; all of them where nothing stands before it."""
    answers = [place for place, each in enumerate(messages) if each["role"] == "assistant"]
    return list(messages[: answers[-1]] if answers else messages) or list(messages)


def png(image: np.ndarray) -> bytes:
    """An image (H, W) or (H, W, 3) of uint8 as a file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()
