"""Tables of words with tags, and of texts with spans: which column is what.

A tag stands for each word, so that the words are the column whose lists are as long as the tags'
in row after row, whatever it is called.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.cli.first_recipe.table_columns.labels import Columns
from limbeck.core.wording import some
from limbeck.sources._cells.labels import written_list
from limbeck.sources._cells.record import TAG, WORD, as_list, as_sentences, word_columns
from limbeck.sources._cells.spans import (
    AROUND,
    LONGEST,
    are_characters,
    is_span,
    longest,
    placed_in,
    runs_of,
    spans_of,
)
from limbeck.sources._cells.tags import OUTSIDE, scheme_of
from limbeck.sources._column_names import TEXT_NAMES, plain
from limbeck.sources._table import LABEL

Record = Mapping[str, Any]

# Of a table with a word a row: what its sentence is.
SENTENCE = (
    *("sentence #", "sentence#", "sentence_id", "sentence id", "sent_id", "sentence_idx"),
    *("sentence_number", "sentence_no", "sent_no", "sentence", "sentenceid", "sid"),
)
LEAST_MATCHED = 0.9  # of the rows have as many words as tags: the others are bad rows
MOST_OUTSIDE = 0.1  # of the rows: where more spans are misplaced, they are counted otherwise
SHOWN = 3
CHARACTERS = re.compile(r"span|offset|char|position")  # in the names of columns of their numbers


def look_at_tags(records: Sequence[Record], place: str) -> Columns | None:
    """What is to be tagged, and the columns of it; None where no column holds tags or spans.

    Raises ValueError for tags without words, and for spans as another tool writes them.
    """
    for look in (_words_a_row, _spans, _tagged):
        found = look(records, place)
        if found:
            return found
    return None


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
    has_data = any(name.partition(".")[0] == "data" for name in first)
    if isinstance(first.get("annotations"), list) and has_data:
        raise ValueError(
            f"{place}: an export of Label Studio with its tasks. Export it as JSON-MIN, or as "
            "CONLL2003, which are read"
        )
    # Of a text with an intent and slots the intent is learned, as of one with tags.
    if any(name in first and not isinstance(first[name], list) for name in LABEL):
        return None
    for name in first:
        cells = [record.get(name) for record in records]
        # Numbers alone may as well be labels.
        has_runs = CHARACTERS.search(plain(name)) is not None
        spans = [spans for cell in cells if (spans := _span_parts(cell, has_runs=has_runs))]
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
        told = f"`{name}` are spans of a text"
        num_shared = sum(_share_words(cell) for cell in cells)
        if num_shared:
            options["overlaps"] = LONGEST
            told += (
                f"; in {num_shared:,} of the first {len(cells):,} rows some lie inside others, and "
                "a word has one tag: the longest are kept (data.overlaps)"
            )
        num_outside = sum(_is_outside(record, options) for record in records)
        if 0 < num_outside < MOST_OUTSIDE * len(records):
            options["on_bad_row"] = "skip"
            told += (
                f"; {num_outside:,} of them have a span that is no part of the text, or no words, "
                "and are left out"
            )
        return Columns("token-classification", options, told)
    return None


def _share_words(cell: Any) -> bool:
    """Whether spans of a cell share characters; those that stand twice are one."""
    try:
        spans = list(dict.fromkeys(spans_of(cell)))
    except ValueError:  # a bad row
        return False
    return len(longest(spans)) < len(spans)


def _is_outside(record: Record, options: Mapping[str, Any]) -> bool:
    """Whether a span of a record is no part of its text."""
    try:
        placed_in(str(record[options["text"]]), longest(spans_of(record[options["spans"]])))
    except ValueError:
        return True
    return False


def _span_parts(cell: Any, *, has_runs: bool) -> list[Any]:
    """The lists or objects in a cell that may hold spans. `has_runs`: whether a list of numbers is
    one of characters."""
    if isinstance(cell, dict):
        cell = next((cell[key] for key in AROUND if key in cell), None)
    if isinstance(cell, str) and cell.startswith("["):
        try:
            cell = written_list(cell)
        except ValueError:
            return []
    parts = cell if isinstance(cell, list) else []
    if has_runs and are_characters(parts):
        return list(runs_of(parts))
    return parts if all(isinstance(part, list | tuple | dict) for part in parts) else []


def _tagged(records: Sequence[Record], place: str) -> Columns | None:
    """Words with a tag each: lists of one length, where no column is one label.

    Raises ValueError for tags that no column has words for.
    """
    first = records[0]
    has_label = any(name in first and not isinstance(first[name], list) for name in LABEL)
    columns = None if has_label else word_columns(first)
    reason = ""
    if not columns:
        columns, reason = _by_length(records, place)
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
    told = f"`{words}` are words, `{tags}` their tags{reason}"
    labels = [name for name in first if plain(name) in LABEL and name not in columns]
    if labels:
        told += (
            f"; `{labels[0]}` is not learned: for that, task: text-classification, with data.text: "
            f"{words} and data.label: {labels[0]} in place of words and tags"
        )
    return Columns("token-classification", options, told)


def _by_length(records: Sequence[Record], place: str) -> tuple[tuple[str, str] | None, str]:
    """(the columns of words and of their tags, what to say of the other lists); None where no
    column holds tags of spans.

    Raises ValueError where one does, and no other is as long.
    """
    for tags in records[0]:
        lists = _lists(records, tags)
        if not _are_tags(lists):
            continue
        counts = [len(parts) for parts in lists]
        others = {name: _lists(records, name) for name in records[0] if name != tags}
        others = {name: found for name, found in others.items() if found}
        for words, found in others.items():
            pairs = zip(counts, map(len, found), strict=True)
            num_same = sum(count == length for count, length in pairs)
            if num_same < LEAST_MATCHED * len(records):
                continue
            # Of several such columns (parts of speech) the words are the first.
            return (words, tags), _told_of(records, words, num_same)
        if _is_written(records, tags):
            seen = sorted({str(tag) for parts in lists for tag in parts})
            raise ValueError(
                f"{place}: `{tags}` holds a tag for each word ({some(seen, SHOWN)}), and no other "
                f"column has as many words. A row has {counts[0]} tags: give it the list of its "
                f"{counts[0]} words in a column of its own"
            )
    return None, ""


def _told_of(records: Sequence[Record], words: str, num_same: int) -> str:
    """What to say of words that were found by their length: rows that do not fit, other lists."""
    told = ""
    if num_same < len(records):
        num_other = len(records) - num_same
        told += f"; {num_other:,} of the first rows have another number of tags than of words"
    beside = [
        name
        for name in records[0]
        if name != words and _is_written(records, name) and not _has_spans(_lists(records, name))
    ]
    if beside:
        names = some([f"`{name}`" for name in beside], SHOWN)
        told += f"; without tags, so not read: {names}, even where a tag hangs on what it says"
    return told


def _are_tags(lists: Sequence[Sequence[Any]]) -> bool:
    """Whether a column holds tags of spans, several for a row: in lists, or between spaces."""
    if max(map(len, lists), default=0) < 2 or not _has_spans(lists):
        return False
    return scheme_of([[str(tag) for tag in parts] for parts in lists]) is not None


def _has_spans(lists: Sequence[Sequence[Any]]) -> bool:
    """Whether some tag begins a span or goes on with it; without types these are B and I."""
    tags = {str(tag) for parts in lists for tag in parts}
    return any(tag.startswith(("B-", "I-")) for tag in tags) or {"B", OUTSIDE} <= tags


def _is_written(records: Sequence[Record], column: str) -> bool:
    """Whether the cells of a column are lists, or texts in brackets as lists are written."""
    cells = [record.get(column) for record in records]
    return all(
        isinstance(cell, list) or (isinstance(cell, str) and cell.startswith("[")) for cell in cells
    )


def _lists(records: Sequence[Record], column: str) -> list[list[Any]]:
    """The cells of a column as lists; none where one is no text."""
    try:
        return [as_list(record.get(column), column) for record in records]
    except ValueError:
        return []
