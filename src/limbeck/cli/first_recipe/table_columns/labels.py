"""Which column of a table is the label, by its name and values, and which task those are for."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from limbeck.cli.first_recipe.table_columns.several import (
    SEPARATORS,
    num_classes,
    separator_of,
    told_several,
)
from limbeck.core.wording import some
from limbeck.sources._cells.labels import MISSING_WORDS, NULL_WORDS, WHOLE
from limbeck.sources._cells.record import share_of
from limbeck.sources._column_names import LABEL_NAMES, plain
from limbeck.sources._table import LABEL

Record = Mapping[str, Any]

SCORE_NAMES = (
    *("score", "similarity", "relatedness", "relatedness_score", "similarity_score"),
    *("grade", "rating", "mark", "marks", "points", "percent", "percentage"),
)
ID = re.compile(r"(^|[^a-z])(id|ids|idx|index|uuid|guid|number|no|key|timestamp|date|time|url)\d*$")
LONGEST_NAME = 4  # words of a column's name; with more it is a question or a sentence
NO_LABELS = ("-", "?")
SHOWN = 12  # names of columns
MOST_UNKNOWN = 0.2  # of the rows: what more have is a class
# Where a row comes from, which is seldom what is to be learned.
ORIGINS = (
    *("corpus", "source", "domain", "dataset", "lang", "language", "country", "region", "location"),
    *("file", "filename", "year", "site", "platform", "annotator", "keyword"),
)
# Numbers that say how sure somebody was, or when and where, and no score of the text.
NO_SCORES = re.compile(r"conf|prob|weight|agree|kappa|lat(itude)?$|lon(gitude)?$|time|date|price")
FEW_ROWS = 200
ROWS_A_CLASS = 5  # at least, of a column of classes that has no name of a label
MOST_OF_A_MARK = 3  # characters: x, yes
MOST_OF_A_SCALE = 10  # whole numbers of a score that may well be classes
FEWEST_NUMBERS = 20  # whole numbers of a wide range
# Names of labels whose numbers stand for classes, however many there are.
CLASS_NAMES = {*LABEL_NAMES, *LABEL} - {"score", "target", "rating", "stars", "quality", "y"}
MOST_CLASSES = 30  # columns of 0 and 1, or of shares, that are taken for labels


@dataclass
class Columns:
    """What a table holds: the task, and the keys of its source that say so.

    `reason`: in words.
    """

    task: str
    options: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


def is_id(name: str, values: Sequence[Any]) -> bool:
    """Whether a column counts or names rows: by its name, or by whole numbers that only rise."""
    words = parted(name)
    if plain(name) in LABEL_NAMES:
        return False
    # A question may end with any word: `How did you like our response time`.
    is_named = ID.search(words) and len(words.split()) <= LONGEST_NAME
    if not words or words.startswith("unnamed") or is_named:
        return True
    texts = [str(value) for value in values]
    if len(texts) < 3 or not all(WHOLE.fullmatch(text) for text in texts):
        return False
    numbers = [int(float(text)) for text in texts]
    return len(set(numbers)) == len(numbers) > 2 and numbers == sorted(numbers)


def parted(name: str) -> str:
    """A column's name in small letters, with a line where a capital begins a word: `intentId`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip()).lower()


def values_of(records: Sequence[Record], column: str) -> list[Any]:
    """The cells of a column that hold something."""
    cells = [record.get(column) for record in records]
    return [cell for cell in cells if cell is not None and str(cell).strip()]


def beside(records: Sequence[Record], texts: Sequence[str]) -> list[str]:
    """The columns beside the texts that hold something."""
    return [name for name in records[0] if name not in texts and values_of(records, name)]


def label_column(records: Sequence[Record], texts: Sequence[str], place: str) -> str:
    """The column of the label. Raises ValueError where none can be."""
    others = beside(records, texts)
    column_of = {plain(name): name for name in others}
    for name in LABEL_NAMES:
        if name in column_of:
            return column_of[name]
    ends = [name for name in others if plain(name).endswith(LABEL)]
    ends = [name for name in ends if not is_id(name, values_of(records, name))]
    if ends:
        return ends[0]
    _refuse_marks(records, others, place)
    # `label_id` and `intentId` number labels, and not rows, where they come again.
    numbered = [name for name in others if _numbers_labels(name, values_of(records, name))]
    if numbered:
        return numbered[0]
    chosen = candidates(records, others)
    if not chosen:
        raise ValueError(
            f"{place}: none of the columns {some(list(records[0]), SHOWN)} looks like a label "
            "(two values or more, each in several rows)"
        )
    return chosen[0]


def _refuse_marks(records: Sequence[Record], others: Sequence[str], place: str) -> None:
    """Raise ValueError where columns have a mark in some rows and nothing in the others: to a
    recipe an empty cell is one that somebody forgot."""
    columns_of: dict[str, list[str]] = {}
    for name in others:
        marks = {str(value).strip() for value in values_of(records, name)}
        is_everywhere = len(values_of(records, name)) == len(records)
        if len(marks) == 1 and not is_everywhere and len(min(marks)) <= MOST_OF_A_MARK:
            columns_of.setdefault(min(marks), []).append(name)
    for mark, columns in columns_of.items():
        if len(columns) > 1:
            raise ValueError(
                f"{place}: {some(columns, SHOWN)} have `{mark}` in some rows and nothing in the "
                "others, which looks like a column for each label. Write 1 and 0 in all files; in "
                "pandas: table[columns] = table[columns].notna().astype(int)"
            )


def _numbers_labels(name: str, values: Sequence[Any]) -> bool:
    """Whether a column is called as the number of a label, and has a few of them in many rows."""
    stem, _, end = parted(name).rpartition("_")
    count = len({str(value) for value in values})
    is_few = 2 <= count <= max(2, len(values) // 2)
    return end in ("id", "idx", "index") and stem in LABEL_NAMES and is_few


def is_origin(name: str) -> bool:
    """Whether a column says where a row comes from, by its name."""
    return plain(name).endswith(ORIGINS)


def candidates(records: Sequence[Record], others: Sequence[str]) -> list[str]:
    """The columns that may be the label, the likeliest first: classes of several rows each, scores,
    classes of few rows, and last what says where a row comes from."""
    classes: dict[str, tuple[int, bool]] = {}
    scores = []
    wide = []
    for name in others:
        values = values_of(records, name)
        if is_id(name, values):
            continue
        count = num_classes(values)
        # Numbers with fractions measure, however seldom one comes again.
        if _measures(values) and count > 1 and not NO_SCORES.search(plain(name)):
            scores.append(name)
        elif _are_counted(name, values):
            wide.append(name)
        # A column of one value says nothing, and one of nearly as many values as rows is an id.
        elif 2 <= count <= max(2, len(records) // 2):
            # Of as many values, numbers: a column of words may be where a row comes from.
            are_words = not all(WHOLE.fullmatch(str(value)) for value in values)
            classes[name] = (count, are_words)
    # The fewer values, the likelier are they classes; what names an origin comes last all the same.
    by_values = sorted(classes, key=lambda name: classes[name])
    labels = [name for name in by_values if not is_origin(name)]
    most = max(2, len(records) // ROWS_A_CLASS)
    sure = [name for name in labels if classes[name][0] <= most]
    # In a few rows a class may be seldom; in many it is a word, or a name.
    seldom = [name for name in labels if name not in sure and len(records) < FEW_ROWS]
    origins = [name for name in by_values if is_origin(name)]
    # What whole numbers count may be anything, such as how often a text was read.
    return [*sure, *scores, *seldom, *wide, *origins]


def _are_counted(name: str, values: Sequence[Any]) -> bool:
    """Whether values are whole numbers of a wide range, and not called as years or times are."""
    is_apart = is_origin(name) or NO_SCORES.search(plain(name))
    return not is_apart and are_scores(map(str, values), name)


def _measures(values: Sequence[Any]) -> bool:
    """Whether values are numbers with fractions."""
    are_numbers = bool(values) and all(map(is_number, values))
    return are_numbers and not all(float(value).is_integer() for value in values)


def of_label(records: Sequence[Record], label: str, options: dict[str, Any]) -> Columns:
    """The task by the values of the one column of labels."""
    options["label"] = label
    cells = values_of(records, label)
    if all(_is_unknown(cell) for cell in cells):
        cells = []
    separator = separator_of(cells)
    if separator:
        options["label_separator"] = separator
        told = f"a row of `{label}` holds several labels{told_several(cells, separator)}"
        return Columns("multi-label-classification", options, told)
    values = {str(cell) for cell in cells}
    only = _told_only(label, values, records)
    if are_scores(map(str, cells), label):
        task, told = "text-regression", _told_scores(label, values)
    else:
        task, told = "text-classification", _leave_out(records, cells, options)
    return Columns(task, options, "; ".join(filter(None, [told, only])))


def _told_only(label: str, values: set[str], records: Sequence[Record]) -> str:
    """That all rows have the one value of a label; nothing where there are several."""
    if len(values) != 1 or len(records) < 2:
        return ""
    # Of sorted rows the first ones may well be of one class, so that this is no refusal.
    return (
        f"`{label}` is {min(values)} in each of the first {len(records):,} rows: where it is so "
        "in all, nothing can be learned"
    )


def _leave_out(records: Sequence[Record], cells: Sequence[Any], options: dict[str, Any]) -> str:
    """Leave out the rows whose label nobody knows; what is to be told of them."""
    reasons = []
    num_empty = len(records) - len(cells)
    if cells and num_empty:
        options["on_bad_row"] = "skip"
        reasons.append(f"{num_empty:,} of the first rows have no label and are left out")
    unknown = Counter(
        str(cell) for cell in cells if _is_unknown(cell) or str(cell).strip() in NULL_WORDS
    )
    others = {str(cell) for cell in cells} - set(unknown)
    for mark, count in unknown.items():
        # Beside + and 0 a minus is a class, and beside words it is the mark of none.
        are_words = all(any(letter.isalpha() for letter in name) for name in others)
        is_none = mark in NO_LABELS or mark in MISSING_WORDS
        if is_none and are_words and count < MOST_UNKNOWN * len(cells):
            options |= {"no_label": mark, "on_bad_row": "skip"}
            reasons.append(
                f"{count:,} of the first rows have `{mark}` for a label: left out, as no label "
                "(data.no_label; without it and on_bad_row it is a class of its own)"
            )
        else:
            reasons.append(
                f"{count:,} of the first rows have `{mark}` or the like for a label: a class of "
                "its own. Where it means that nobody knows: data.no_label and on_bad_row: skip"
            )
    return "; ".join(reasons)


def _is_unknown(cell: Any) -> bool:
    return str(cell) in ("-1", "-1.0", "-", "?", "")


def are_scores(labels: Iterable[str], name: str = "") -> bool:
    """Whether labels, one a row, are numbers that measure: not all of them whole, or many of a
    score, or so many of a wide range that few come again."""
    counts = Counter(labels)
    try:
        numbers = {float(label) for label in counts}
    except ValueError:  # a word
        return False
    has_fractions = any(not number.is_integer() for number in numbers)
    is_score = plain(name).endswith(SCORE_NAMES) and len(numbers) > MOST_OF_A_SCALE
    return bool(numbers) and (has_fractions or is_score or _are_wide(counts, name))


def _are_wide(counts: Mapping[str, int], name: str) -> bool:
    """Whether whole numbers are no numbers of classes: each stands in few rows, and a column is not
    called as those of classes are."""
    is_of_classes = plain(name) in CLASS_NAMES or plain(name).endswith(LABEL[0])
    num_rows = sum(counts.values())
    is_seldom = num_rows < ROWS_A_CLASS * len(counts)
    return not is_of_classes and len(counts) > FEWEST_NUMBERS and is_seldom


def _told_scores(label: str, values: Iterable[str]) -> str:
    """Why numbers are learned as such, and how to take each for a class where they are whole."""
    numbers = {float(value) for value in values}
    if any(not number.is_integer() for number in numbers):
        return f"the values of `{label}` are numbers with fractions: scores, not classes"
    return (
        f"`{label}` holds {len(numbers):,} whole numbers from {min(numbers):.0f} to "
        f"{max(numbers):.0f}: a number to learn, no classes. To take each for a class: task: "
        "text-classification"
    )


def share_columns(records: Sequence[Record], texts: Sequence[str]) -> list[str]:
    """Columns that each say of one label whether, or by what share of annotators, a row has it."""
    for name in records[0]:
        # `airline_sentiment` beside its confidence is the label.
        is_label = plain(name).endswith(LABEL) and not all(map(is_number, values_of(records, name)))
        if plain(name) in LABEL_NAMES or (is_label and name not in texts):
            return []
    found = []
    for name in records[0]:
        values = values_of(records, name)
        if name in texts or len(values) < len(records) or is_id(name, values):
            continue
        shares = [_share(value) for value in values]
        if all(share is not None for share in shares):
            found.append(name)
    return found if 2 <= len(found) <= MOST_CLASSES else []


def _share(value: Any) -> float | None:
    try:
        return share_of(value, "")
    except ValueError:
        return None


def of_shares(
    records: Sequence[Record], columns: Sequence[str], options: dict[str, Any]
) -> Columns:
    """One label a row where the shares of each are one whole, else several."""
    options["label_columns"] = list(columns)
    rows = [[_share(record[name]) or 0.0 for name in columns] for record in records]
    told = f"`{columns[0]}` to `{columns[-1]}` are a column for each label"
    # Shares are rounded to two digits, or to one.
    if all(abs(sum(row) - 1) < 0.05 and row.count(max(row)) == 1 for row in rows):
        return Columns("text-classification", options, f"{told}, and a row has one")
    options["label_separator"] = SEPARATORS[0]
    return Columns("multi-label-classification", options, f"{told}, and a row has any number")


def is_number(value: Any) -> bool:
    """Whether a cell is a number, or a text that is one."""
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
