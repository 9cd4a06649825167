"""Labelled rows for an artifact: a file as its user has it, its inputs and their labels.

Tables are read as `limbeck predict` reads them, with a column more; sentences in CoNLL columns,
folders and archives of classes as the sources of training data read them (`published`).
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limbeck.artifact.rows.inputs import Reading, read_items, tell_nobody
from limbeck.artifact.rows.published import class_of, rows_of_folder, test_files
from limbeck.artifact.rows.records import WORD_COLUMNS, format_of, listed
from limbeck.artifact.rows.word_columns import are_word_columns, column_reader, spooled
from limbeck.core.wording import suggest
from limbeck.sources import BadRow, OnBadRow, Row
from limbeck.sources._cells.labels import LabelParser, written_list
from limbeck.sources._cells.record import TAGS, TextCells, as_list
from limbeck.sources._cells.spans import AROUND, REFUSE, SpanCells, is_span
from limbeck.sources._cells.tags import as_iob2
from limbeck.sources._column_names import LABEL_NAMES, plain
from limbeck.sources._table import LABEL
from limbeck.sources.rows import KEYS, Rows, columns_of


@dataclass
class Labels:
    """What the labels of a file are, by the artifact's own and its recipe.

    `known`: the artifact's, in their order. `recipe`: the keys of its recipe's `data`. `column`:
    the column of the command line; `scheme`: that of the tags, in place of the recipe's. `say`: is
    told of each choice that was made by what stood out. `unknown`: labels that the artifact
    does not have, with the number of units that have them.
    """

    known: list[str]
    kind: str
    likelihood: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    column: str | None = None
    scheme: str | None = None
    say: Callable[[str], None] = tell_nobody
    unknown: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        has_several = self.likelihood == "bernoulli"
        separator = self.recipe.get("label_separator") or ";"
        no_label = self.recipe.get("no_label")
        self.parser = LabelParser(None, separator if has_several else None, no_label)
        # Met first, so that 1.0 in a file is the label 1 that the artifact has.
        for label in self.known:
            self.parser.parse_one(label, "label")
        names = self.recipe.get("label_names") or []
        self.names = {str(index): str(name) for index, name in enumerate(names)}
        self.votes = [str(name) for name in self.recipe.get("vote_columns") or []]
        self.is_known = set(self.known)
        # Letters in another case are the same name, unless the artifact tells them apart.
        folded = Counter(label.casefold() for label in self.known)
        self.by_case = {label.casefold(): label for label in self.known}
        self.by_case = {name: label for name, label in self.by_case.items() if folded[name] == 1}

    def find(self, content: Mapping[str, Any]) -> list[str]:
        """The column of the label, or one for each label. Raises ValueError where there is none."""
        # 1. What the command line names is taken, or its absence is a mistake.
        if self.column and self.column in content:
            return [self.column]
        if self.column:
            raise ValueError(
                f"no column `{self.column}` (--label) here. Other columns than the input's: "
                f"{listed(list(content))}"
            )
        # 2. What training read: all of its columns, or the one.
        columns = [str(name) for name in self.recipe.get("label_columns") or []]
        if columns and set(columns) <= set(content):
            return columns
        if self.votes and set(self.votes) <= set(content):
            return self.votes
        candidates = [self.recipe.get("label"), *LABEL]
        if self.kind == "words":
            candidates = [self.recipe.get("tags"), self.recipe.get("spans"), *TAGS, "spans"]
        for name in candidates:
            if name in content:
                return [str(name)]
        # 3. What stands out, and is told; of several candidates none does.
        if self.likelihood == "bernoulli" and self.is_known <= set(content):
            self.say("each label is read from the column of its name")
            return self.known
        column_of = {plain(name): name for name in content}
        usual = TAGS if self.kind == "words" else (*LABEL_NAMES, *LABEL)
        named = [column_of[name] for name in dict.fromkeys(usual) if name in column_of]
        if len(named) == 1:
            self.say(f"the label is read from the column `{named[0]}`")
            return named
        raise ValueError(
            f"no column of the {'tags' if self.kind == 'words' else 'label'} here "
            f"({', '.join(map(str, usual[:4]))}, ...). Other columns than the input's: "
            f"{listed(list(content))}. Name it with --label COLUMN"
        )

    def of(self, row: Row, content: Mapping[str, Any], columns: list[str]) -> Row:
        """The row with the label, or the tags, that stand in `columns`. Raises ValueError."""
        if len(columns) > 1:
            votes = columns == self.votes
            cells = TextCells({}, columns, self.parser, are_shares=not votes, are_votes=votes)
            return self.labelled(row, cells.label(content))
        (column,) = columns
        value = content[column]
        if self.kind != "words":
            # Sets of the Hub hold even a single label as a list.
            is_one = self.parser.separator is None and isinstance(value, list) and len(value) == 1
            return self.labelled(row, self.parser.parse(value[0] if is_one else value, column))
        is_read_so = column == self.recipe.get("spans")
        if "text" in row and (is_read_so or _are_spans(value)):
            return self._of_spans(row["text"], value, column)
        tags = as_list(value, column)
        if len(tags) != len(row["words"]):
            raise ValueError(f"{column}: {len(row['words'])} words need as many tags")
        # Tags as numbers stand for the names that the recipe lists.
        names = [self.parser.parse_one(tag, column) for tag in tags]
        names = [self.names.get(name, name) for name in names]
        try:
            names = as_iob2(names, self.scheme or self.recipe.get("scheme") or "iob2")
        except ValueError as error:
            raise ValueError(f"{column}: {error}") from None
        return self.tagged(row, names)

    def _of_spans(self, text: str, cell: Any, column: str) -> Row:
        """The words and tags of a text whose spans are given. Raises ValueError."""
        overlaps = str(self.recipe.get("overlaps") or REFUSE)
        cells = SpanCells("text", column, self.parser, overlaps=overlaps)
        row = cells.row({"text": text, column: cell}, is_labelled=True)
        return self.tagged(row, row["tags"])

    def labelled(self, row: Row, label: str | list[str]) -> Row:
        """The row with a label, or several, by the names that the artifact has for them."""
        if isinstance(label, list):
            labels = list(dict.fromkeys(self.named(each) for each in label))
            self.count(labels)
            return {**row, "label": labels}
        label = self.named(label)
        self.count([label])
        return {**row, "label": label}

    def tagged(self, row: Row, tags: list[str]) -> Row:
        """The row with its tags, by the names that the artifact has for them."""
        tags = [self.named(tag) for tag in tags]
        self.count(tags)
        return {**row, "tags": tags}

    def named(self, label: str) -> str:
        """A label by its name, where it is the number of one, or is written in other letters."""
        if label in self.is_known or self.likelihood == "gaussian":
            return label
        name = self.names.get(label, label)
        same = self.by_case.get(name.casefold(), name)
        if same != name:
            self.say(f"the label `{name}` is read as `{same}`, which the artifact has")
        return same

    def count(self, labels: list[str]) -> None:
        """Remember those that the artifact does not have."""
        if self.likelihood != "gaussian":
            self.unknown.update(label for label in labels if label not in self.is_known)


def labelled_rows(
    source: str,
    reading: Reading,
    labels: Labels,
    to_row: Callable[[Any], Row],
    on_bad_row: OnBadRow,
    stdin: Any = None,
) -> Iterator[Row]:
    """The rows of a file or folder with their labels; of a folder that has one, its test split.

    source, stdin: as in `read_items`. to_row: an input to a row, as the artifact does. on_bad_row:
        is handed what cannot be used.

    Raises ValueError for a source that cannot be read, or has no column of labels.
    """
    if source == "-" and reading.form == WORD_COLUMNS:
        with spooled(stdin) as file:
            yield from labelled_rows(str(file), reading, labels, to_row, on_bad_row)
        return
    path = Path(source)
    is_free = reading.form is None and source != "-"
    # 1. Words in columns, of which the tag is one.
    if reading.kind == "words" and _are_in_columns(path, reading, labels):
        for sentence in column_reader(source, labels.recipe, labels.scheme).sentences(
            path, on_bad_row
        ):
            yield labels.tagged(to_row(tuple(sentence["words"])), sentence["tags"])
        return
    # 2. Folders of classes, and archives of them.
    found = None
    if is_free:
        found = rows_of_folder(path, reading.kind, labels.recipe, on_bad_row)
    if found:
        reading.say(found[0])
        for row in found[1]:
            yield labels.labelled(to_row(_as_sent(row)), row["label"])
        return
    # 3. Tables: of a folder those of its test split.
    files = test_files(path, labels.recipe) if is_free and path.is_dir() else []
    if files:
        names = ", ".join(file.name for file in files)
        reading.say(f"the test split of {path} is read: {names}")
        for file in files:
            yield from labelled_rows(str(file), reading, labels, to_row, on_bad_row)
        return
    if reading.kind == "image" and path.is_file() and format_of(path) == "lines":
        raise ValueError(f"{path}: one image has no label. Name a folder of classes, or a table")
    if path.is_dir():
        reading.say(f"all files of rows in {path} are read: no split test was found among them")
    yield from _of_tables(source, stdin, reading, labels, to_row, on_bad_row)


def _are_in_columns(path: Path, reading: Reading, labels: Labels) -> bool:
    """Whether a file holds words in columns: by its suffix, where that is none of a table."""
    if not path.is_file() or reading.form not in (None, WORD_COLUMNS):
        return False
    is_table = format_of(path) != "lines" and not are_word_columns(path, labels.recipe)
    return reading.form == WORD_COLUMNS or not is_table


def _of_tables(
    source: str,
    stdin: Any,
    reading: Reading,
    labels: Labels,
    to_row: Callable[[Any], Row],
    on_bad_row: OnBadRow,
) -> Iterator[Row]:
    """The rows of a table, of lines of texts of one class, or of words from standard input."""
    label = class_of(Path(source), labels.recipe)
    is_first = True
    for item in read_items(source, stdin, reading):
        others = item.others
        if label in labels.is_known:
            others = {LABEL[0]: label}
        # That the column of labels is missing is told once, not for every row.
        if is_first and not item.problem:
            labels.find(others)
            is_first = False
        try:
            if item.problem:
                raise ValueError(item.problem)
            yield labels.of(to_row(item.raw), others, labels.find(others))
        except ValueError as error:
            place = f"{item.file or source}:{item.line}"
            on_bad_row(BadRow(place, str(error), item.shown))


def rows_from_python(
    given: Any,
    columns: Mapping[str, str],
    labels: Labels,
    to_row: Callable[[Any], Row],
    on_bad_row: OnBadRow,
) -> Iterator[Row]:
    """Rows from Python with their labels, as a run takes them.

    given: dicts, a dict of columns, a data frame or a dataset. columns: which of their columns
        holds what, before what the artifact's recipe says. The rest is as in `labelled_rows`.

    Raises ValueError for what is no rows.
    """
    # The first row is looked at for its columns, and then read as the others.
    if isinstance(given, Iterator):
        given = list(given)
    source = Rows(**_columns_in(columns_of(given), columns, labels.recipe))
    tags_or_label = source.tags if labels.kind == "words" else source.label
    rows = source.one_split("test", given, on_bad_row, labels.parser)
    for number, row in enumerate(rows, 1):
        try:
            if labels.kind == "words" and "tags" in row:
                yield labels.tagged(to_row(tuple(row["words"])), row["tags"])
            elif row.get("label") is not None:
                yield labels.labelled(to_row(_as_given(row)), row["label"])
            else:
                raise ValueError(
                    f"no label in `{tags_or_label}`. Leave such rows out, or name the column: "
                    'columns={"label": ...}'
                )
        except ValueError as error:
            on_bad_row(BadRow(f"rows:{number}", str(error), sorted(row)))


def _columns_in(
    present: Sequence[str], asked: Mapping[str, str], recipe: Mapping[str, Any]
) -> dict[str, Any]:
    """Which of the columns that are there holds what. Raises ValueError for one that was asked for
    and is not."""
    found: dict[str, Any] = {}
    for key in KEYS:
        if key in asked and asked[key] not in present:
            suggestion = suggest(asked[key], present)
            raise ValueError(f"columns: no column `{asked[key]}` in these rows. {suggestion}")
        # A recipe names columns of its own files, and these rows may come from elsewhere.
        name = asked.get(key) or recipe.get(key)
        if name in present:
            found[key] = str(name)
    return found


def _as_given(row: Row) -> Any:
    """A row as a user would send it; of a pair both texts."""
    if "text_b" in row:
        return {name: row[name] for name in ("text", "text_b") if name in row}
    if "text" not in row and "image" not in row:
        raise ValueError('no column of the input. Name it: columns={"text": ...}')
    return _as_sent(row)


def _are_spans(cell: Any) -> bool:
    """Whether a cell holds the spans of a text; of none, an empty list is all there is."""
    if isinstance(cell, dict):
        return any(key in cell for key in AROUND)
    if isinstance(cell, str) and cell.startswith("["):
        with contextlib.suppress(ValueError):
            cell = written_list(cell)
    return isinstance(cell, list) and all(is_span(part) for part in cell)


def _as_sent(row: Row) -> Any:
    """A row of a source as a user would send it: an image as its file, which the artifact reads as
    it read those of training."""
    if "image" not in row:
        return row["text"]
    root, name = row.get("file", ("", ""))
    file = Path(root, name)
    return file if name and file.is_file() else row["image"]
