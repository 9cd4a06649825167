"""Which column of a table is what, by its name and by what the first rows hold."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.cli.first_recipe.foreign import refuse_cells, refuse_choices
from limbeck.cli.first_recipe.labels import (
    Columns,
    is_number,
    label_column,
    of_label,
    of_shares,
    share_columns,
    told_label,
    values_of,
)
from limbeck.sources._cells import TAG, WORD, as_list, as_sentences, word_columns
from limbeck.sources._column_names import LABEL_NAMES, TEXT_NAMES, pairs_in, plain
from limbeck.sources._labels import written_list
from limbeck.sources._spans import AROUND, is_span
from limbeck.sources._split_files import split_of
from limbeck.sources._table import LABEL
from limbeck.sources._tags import scheme_of

Record = Mapping[str, Any]

# What several rows belong to. Of the second kind a column without `id` is a text.
GROUP = re.compile(
    r"(patient|user|subject|speaker|author|document|doc|customer|session|participant)(_?id)?"
    r"|(sentence|dialog|dialogue|conversation|conv|thread|article|paragraph|passage|story|caption"
    r"|prompt|question|query|recording|video|case|post)_?(id|no|number|idx)"
)
# Of a table with a word a row: what its sentence is.
SENTENCE = (
    *("sentence #", "sentence#", "sentence_id", "sentence id", "sent_id", "sentence_idx"),
    *("sentence_number", "sentence_no", "sent_no", "sentence", "sentenceid", "sid"),
)
UNNAMED = re.compile(r"column_\d+")
SPLIT_NAMES = ("split", "splits", "fold", "set", "subset", "partition", "usage", "phase")
FOLD = re.compile(r"(k?_?fold|cv)(_?(id|no|number))?")
MOST_SPLIT_WORDS = 3  # of a cell that names a split


def choose(records: Sequence[Record], place: str) -> Columns:
    """What the first records hold. `place`: the file, for messages. Raises ValueError."""
    if not records:
        raise ValueError(f"{place}: no row here")
    # 1. What says which rows are which is neither text nor label.
    split, told = split_column(records)
    apart = {split, *(name for name in records[0] if FOLD.fullmatch(plain(name)))}
    kept: list[Record] = [
        {name: cell for name, cell in record.items() if name not in apart} for record in records
    ]
    if not kept[0]:
        raise ValueError(f"{place}: none of its columns is a text or a label")
    # 2. What is learned, and of what.
    found = _task_of(kept, place)
    _add_group(found, kept)
    # 3. The splits, or why the column that looks like them is not read.
    if split and not told:
        found.options["split"] = split
    reasons = [found.reason, told]
    reasons += [
        f"`{name}` numbers folds and is not read. For test rows write a column split: train, test"
        for name in apart
        if name and name != split
    ]
    found.reason = "; ".join(filter(None, reasons))
    return found


def split_column(records: Sequence[Record]) -> tuple[str | None, str]:
    """The column that says which split a row is in, and why it cannot be read as such; None where
    there is none.

    By its values alone, where some are train and others not; or by its name, where each value names
    a split.
    """
    for name in records[0]:
        cells = [str(record.get(name)).strip() for record in records]
        values = dict.fromkeys(cells)
        if any(len(value.split()) > MOST_SPLIT_WORDS for value in values):
            continue
        splits = {split_of(value) for value in values}
        is_named = plain(name).endswith(SPLIT_NAMES)
        # A model may well learn to tell `train` from `test`, where a column is called so.
        is_label = plain(name) in LABEL_NAMES and not is_named
        are_several = "train" in splits and len(splits) > 1
        if is_label or not (is_named or (are_several and None not in splits)):
            continue
        if None not in splits:
            return name, ""
        if "train" in splits:
            other = next(value for value in values if split_of(value) is None)
            return name, f"`{name}` would be the split, but `{other}` is the name of none"
    return None, ""


def _add_group(found: Columns, records: Sequence[Record]) -> None:
    """Name the column of what a row belongs to, where there is one."""
    taken = {str(value) for value in found.options.values()}
    for name in records[0]:
        if not GROUP.fullmatch(plain(name)) or name in taken:
            continue
        values = [str(record.get(name)) for record in records]
        # One value groups nothing, and one for each row is a key.
        if 1 < len(set(values)) < len(values):
            found.options["group"] = name
            told = f"a drawn split keeps rows of one `{name}` together"
            found.reason = "; ".join(filter(None, [found.reason, told]))


def _task_of(records: Sequence[Record], place: str) -> Columns:
    """The task, and the columns of texts and label. Raises ValueError."""
    for look in (_words_a_row, _spans, _tagged):
        tagged = look(records, place)
        if tagged:
            return tagged
    # Before a column is taken for a text: the question alone would be one.
    refuse_choices(place, records)
    texts = _texts(records, place)
    options: dict[str, Any] = {"text": texts[0]}
    shares = share_columns(records, texts)
    if shares:
        found = of_shares(records, shares, options)
    else:
        label = label_column(records, texts, place)
        refuse_cells(place, records, label)
        found = of_label(records, label, options)
        reasons = [found.reason, told_label(records, texts, label)]
        found.reason = "; ".join(filter(None, reasons))
    if len(texts) > 1:
        found.options["text_b"] = texts[1]
    words = word_columns(records[0])
    if words and found.options.get("label") not in words:
        found.reason += (
            f"`{words[0]}` have tags too, `{words[1]}`: to learn those, task: token-classification "
            f"and data: words: {words[0]}, tags: {words[1]} in place of text and label"
        )
    return found


def _words_a_row(records: Sequence[Record], place: str) -> Columns | None:
    """A table with one word a row, and a column that says where a sentence begins."""
    column_of = {plain(name): name for name in records[0]}
    words, tags, sentence = (
        next((column_of[name] for name in names if name in column_of), None)
        for names in (WORD, TAG, SENTENCE)
    )
    if not (words and tags and sentence):
        return None
    cells = [str(record.get(words) or "") for record in records]
    # A sentence in one of these columns is a text.
    if any(len(cell.split()) > 1 for cell in cells) or isinstance(records[0][words], list):
        return None
    options = {"sentence": sentence, "words": words, "tags": tags}
    pairs = as_sentences((("", dict(record)) for record in records), sentence, [words, tags])
    named = [[str(tag) for tag in record[tags]] for _, record in pairs]
    scheme = scheme_of(named)
    if scheme is None:
        scheme = "io" if any("O" in tags for tags in named) else "single"
    if scheme != "iob2":
        options["scheme"] = scheme
    reason = f"a word a row: `{words}`, its tag `{tags}`; `{sentence}` names its sentence"
    return Columns("token-classification", options, reason)


def _spans(records: Sequence[Record], place: str) -> Columns | None:
    """Texts whose spans are given by characters. Raises ValueError for a layout of another tool,
    with the cure."""
    first = records[0]
    if isinstance(first.get("annotations"), list) and isinstance(first.get("data"), dict):
        raise ValueError(
            f"{place}: an export of Label Studio with its tasks. Export it as JSON-MIN, or as "
            "CONLL2003, which are read"
        )
    # Of a text with an intent and slots the intent is learned, as of one with tags.
    if any(name in first and not isinstance(first[name], list) for name in LABEL):
        return None
    for name in first:
        cells = [record.get(name) for record in records]
        spans = [spans for cell in cells if (spans := _span_parts(cell))]
        if not spans or not all(is_span(part) for parts in spans for part in parts):
            continue
        texts = [key for key, cell in first.items() if isinstance(cell, str)]
        usual = [key for key in texts if plain(key) in TEXT_NAMES]
        if not texts:
            raise ValueError(
                f"{place}: the spans of `{name}` count words, as far as can be seen, and those of "
                "characters in a text are read. Write a tag for each word: tokens and tags, two "
                "lists of one length"
            )
        options = {"text": (usual or texts)[0], "spans": name}
        return Columns("token-classification", options, f"`{name}` are spans of a text")
    return None


def _span_parts(cell: Any) -> list[Any]:
    """The lists or objects in a cell that may hold spans."""
    if isinstance(cell, dict):
        cell = next((cell[key] for key in AROUND if key in cell), None)
    if isinstance(cell, str) and cell.startswith("["):
        try:
            cell = written_list(cell)
        except ValueError:
            return []
    parts = cell if isinstance(cell, list) else []
    return parts if all(isinstance(part, list | tuple | dict) for part in parts) else []


def _tagged(records: Sequence[Record], place: str) -> Columns | None:
    """Words with a tag each: lists of one length, where no column is one label."""
    first = records[0]
    has_label = any(name in first and not isinstance(first[name], list) for name in LABEL)
    columns = None if has_label else word_columns(first)
    columns = columns or _written_words(records)
    if not columns:
        return None
    words, tags = columns
    options: dict[str, Any] = {"words": words, "tags": tags}
    sentences = [as_list(record.get(tags) or [], tags) for record in records]
    named = [[str(tag) for tag in tags] for tags in sentences]
    if not any(name.isdecimal() for tags in named for name in tags):
        scheme = scheme_of(named)
        if scheme and scheme != "iob2":
            options["scheme"] = scheme
    return Columns("token-classification", options, f"`{words}` are words, `{tags}` their tags")


def _written_words(records: Sequence[Record]) -> tuple[str, str] | None:
    """The columns of words and of their tags in texts: a list as Python writes it, or words with
    spaces between; None where there are none."""
    for tags in records[0]:
        cells = [record.get(tags) for record in records]
        if plain(tags) not in TAG or not all(isinstance(cell, str) for cell in cells):
            continue
        lists = _lists(records, tags)
        has_spans = any(str(tag).startswith(("B-", "I-")) for parts in lists for tag in parts)
        if not has_spans or scheme_of([[str(tag) for tag in parts] for parts in lists]) is None:
            continue
        counts = [len(parts) for parts in lists]
        for words in records[0]:
            if words != tags and [len(parts) for parts in _lists(records, words)] == counts:
                # Of several such columns (parts of speech) the words are the first.
                return (words, tags) if max(counts) > 1 else None
    return None


def _lists(records: Sequence[Record], column: str) -> list[list[Any]]:
    """The cells of a column as lists; none where one is no text."""
    try:
        return [as_list(record.get(column), column) for record in records]
    except ValueError:
        return []


def _texts(records: Sequence[Record], place: str) -> list[str]:
    """The column of the text, or the two of a pair. Raises ValueError where there is none."""
    columns = list(records[0])
    column_of = {plain(column): column for column in columns}
    for pair in pairs_in(columns):
        if all(num_words(records, column) for column in pair):
            return list(pair)
    named = [column_of[name] for name in TEXT_NAMES if name in column_of]
    if named:
        return named[:1]
    unnamed = _unnamed_pair(records)
    if unnamed:
        return unnamed
    others = [column for column in columns if plain(column) not in LABEL_NAMES] or columns

    # Chinese has no spaces between its words.
    def length(column: str) -> tuple[int, int]:
        return num_words(records, column), sum(len(str(record.get(column))) for record in records)

    text = max(others, key=length)
    if len(columns) > 2 and all(is_number(value) for value in values_of(records, text)):
        raise ValueError(
            f"{place}: {len(columns)} columns of numbers, and none of text. Rows of pixels are "
            "read as images from an archive: numpy.savez('images.npz', train_images=..., "
            "train_labels=...), the images as (rows, height, width) of uint8"
        )
    return [text]


def _unnamed_pair(records: Sequence[Record]) -> list[str]:
    """The two columns of a table without a header that hold texts of about one length; none where
    it has more of them, or one."""
    if not all(UNNAMED.fullmatch(column) for column in records[0]):
        return []
    lengths = {}
    for column in records[0]:
        cells = [str(record.get(column) or "") for record in records]
        are_texts = [len(cell.split()) > 1 or not cell.isascii() for cell in cells]
        # Of some hundred dates or places most come again.
        if 2 * sum(are_texts) > len(cells) and 2 * len(set(cells)) > len(cells):
            lengths[column] = sum(map(len, cells))
    is_pair = len(lengths) == 2 and 2 * min(lengths.values()) > max(lengths.values())
    return list(lengths) if is_pair else []


def num_words(records: Sequence[Record], column: str) -> int:
    """How many words a column holds."""
    return sum(len(str(record.get(column, "")).split()) for record in records)
