"""Which column of a table is what, by its name and by what the first rows hold."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from limbeck.cli.first_recipe.refused.foreign import refuse_cells, refuse_choices
from limbeck.cli.first_recipe.table_columns.beside import (
    add_group,
    of_votes,
    told_label,
    vote_columns,
)
from limbeck.cli.first_recipe.table_columns.labels import (
    ROWS_A_CLASS,
    Columns,
    beside,
    candidates,
    is_id,
    is_number,
    label_column,
    of_label,
    of_shares,
    share_columns,
    values_of,
)
from limbeck.cli.first_recipe.table_columns.tagged import look_at_tags
from limbeck.sources._cells.record import word_columns
from limbeck.sources._cells.splits import flag_of, split_of_cell, splits_told
from limbeck.sources._column_names import LABEL_NAMES, TEXT_NAMES, pairs_in, plain
from limbeck.sources._images import SUFFIXES as IMAGE_SUFFIXES
from limbeck.sources._split_files import split_of

Record = Mapping[str, Any]

UNNAMED = re.compile(r"column_\d+")
SPLIT_NAMES = ("split", "splits", "fold", "set", "subset", "partition", "usage", "phase")
# Cross-validation, and parts of which nobody says what they are for.
FOLD = re.compile(r"(k?_?fold|cv|splits?|partition)(_?(id|no|number))?")
FEWEST_NAMES = 10  # rows, by which names of what rows are about are told from texts
FILE_ENDINGS = (*IMAGE_SUFFIXES, ".dcm", ".wav", ".mp3", ".mp4")
NUMBER = re.compile(r"-?[0-9]+")
MOST_AGAIN = 4  # rows of an unnamed pair that have one text in common, on average
# A query and what is to be found for it.
SEARCHED = (
    *(("query", "positive"), ("anchor", "positive"), ("question", "answer"), ("query", "passage")),
    *(("query", "document"), ("query", "answer"), ("context", "response")),
)
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
    add_group(found, kept)
    # 3. The splits, or why the column that looks like them is not read.
    if split and not told:
        found.options["split"] = split
        told = _told_split(records, split)
    reasons = [found.reason, told]
    reasons += [
        f"`{name}` numbers parts, and which of them is for test is not said: it is not read. For "
        "test rows write a column split: train, test"
        for name in apart
        if name and name != split
    ]
    found.reason = "; ".join(filter(None, reasons))
    return found


def split_column(records: Sequence[Record]) -> tuple[str | None, str]:
    """The column that says which split a row is in, and why it cannot be read as such; None where
    there is none.

    By its values alone, where some are train and others not; or by its name, where each value names
    a split, or says yes or no to the one that the column asks for (`is_train`).
    """
    for name in records[0]:
        cells = [str(record.get(name)).strip() for record in records]
        values = dict.fromkeys(cells)
        if any(len(value.split()) > MOST_SPLIT_WORDS for value in values):
            continue
        is_named = plain(name).endswith(SPLIT_NAMES) or _asks_for_split(records, name, values)
        splits = [split_of_cell(value, name) if is_named else split_of(value) for value in values]
        # A model may well learn to tell `train` from `test`, where a column is called so.
        is_label = plain(name) in LABEL_NAMES and not is_named
        are_several = "train" in splits and len(set(splits)) > 1
        if is_label or not (is_named or (are_several and None not in splits)):
            continue
        if None not in splits:
            return name, ""
        if "train" in splits:
            other = next(value for value in values if split_of_cell(value, name) is None)
            told = f"`{name}` would be the split, but `{other}` is the name of none"
            return name, f"{told}: write train, validation or test there, and data.split: {name}"
    return None, ""


def _asks_for_split(records: Sequence[Record], name: str, values: Iterable[str]) -> bool:
    """Whether a column is called as a split and says yes or no to it."""
    if not split_of(name) or any(flag_of(value) is None for value in values):
        return False
    # `train` alone may be one label of several, a vehicle as `car` and `bus` are.
    asks = plain(name).startswith(("is", "in_", "use_", "for_"))
    return asks or any(plain(other) in LABEL_NAMES for other in records[0])


def _told_split(records: Sequence[Record], name: str) -> str:
    """What the values of a column of splits are read as, where they are no plain names."""
    values = list(dict.fromkeys(str(record.get(name)).strip() for record in records))
    if all(split_of_cell(value, name) == split_of(value) for value in values):
        return ""
    told = splits_told(values, name)
    return f"`{name}` says the split: {told}. To have them drawn, leave data.split out"


def _task_of(records: Sequence[Record], place: str) -> Columns:
    """The task, and the columns of texts and label. Raises ValueError."""
    tagged = look_at_tags(records, place)
    if tagged:
        return tagged
    # Before a column is taken for a text: the question alone would be one.
    refuse_choices(place, records)
    texts = _texts(records, place)
    searched = _searched(records)
    if searched:
        return searched
    options: dict[str, Any] = {"text": texts[0]}
    votes = vote_columns(records, texts)
    shares = [] if votes else share_columns(records, texts)
    if votes:
        found = of_votes(records, votes, options)
    elif shares:
        found = of_shares(records, shares, options)
    else:
        label = label_column(records, texts, place)
        refuse_cells(place, records, label)
        found = of_label(records, label, options)
        reasons = [found.reason, told_label(records, texts, label)]
        found.reason = "; ".join(filter(None, reasons))
    if len(texts) > 1:
        found.options["text_b"] = texts[1]
    num_blank = sum(any(not _filled(record.get(text)) for text in texts) for record in records)
    if 0 < num_blank < len(records):
        found.options["on_bad_row"] = "skip"
        told = f"{num_blank:,} of the first rows have no text and are left out"
        found.reason = "; ".join(filter(None, [found.reason, told]))
    words = word_columns(records[0])
    if words and found.options.get("label") not in words:
        found.reason += (
            f"`{words[0]}` have tags too, `{words[1]}`: to learn those, task: token-classification "
            f"and data: words: {words[0]}, tags: {words[1]} in place of text and label"
        )
    return found


def _searched(records: Sequence[Record]) -> Columns | None:
    """Queries with an item each that belongs to it, to be found among all items; None where a
    column may be a label of the two, or there are no such texts."""
    names = {plain(name): name for name in records[0]}
    for query, item in ((names.get(query), names.get(item)) for query, item in SEARCHED):
        if not (query and item) or not all(_holds_texts(records, name) for name in (query, item)):
            continue
        others = beside(records, [query, item])
        # What does not belong to a query is no label of it: all items of others are such.
        others = [name for name in others if not plain(name).startswith("neg")]
        if candidates(records, others) or {plain(name) for name in others} & {*LABEL_NAMES}:
            return None
        told = (
            f"no column is a label of `{query}` and `{item}`: a query's `{item}` is to be found "
            f"among those of all rows. Where they are right and wrong, write a column label"
        )
        options = {"text": query, "text_b": item, "label": item}
        return Columns("ranking", options, told)
    return None


def _texts(records: Sequence[Record], place: str) -> list[str]:
    """The column of the text, or the two of a pair. Raises ValueError where there is none."""
    columns = list(records[0])
    column_of = {plain(column): column for column in columns}
    for pair in pairs_in(columns):
        if all(_holds_texts(records, column) for column in pair):
            return list(pair)
    named = [column_of[name] for name in TEXT_NAMES if name in column_of]
    if named:
        return named[:1]
    unnamed = _unnamed_pair(records)
    if unnamed:
        return unnamed
    others = [column for column in columns if plain(column) not in LABEL_NAMES] or columns
    kept = _without_names_of_rows(records, others, place)

    # Numbers are words too, and Chinese has no spaces between its words.
    def length(column: str) -> tuple[int, int, int]:
        cells = [str(record.get(column, "")) for record in records]
        num_letters = sum(any(map(str.isalpha, word)) for cell in cells for word in cell.split())
        return num_letters, num_words(records, column), sum(map(len, cells))

    text = max(kept, key=length)
    are_numbers = all(is_number(value) for value in values_of(records, text))
    if len(columns) > 2 and are_numbers:
        raise ValueError(
            f"{place}: {len(columns)} columns of numbers, and none of text. Rows of pixels are "
            "read as images from an archive: numpy.savez('images.npz', train_images=..., "
            "train_labels=...), the images as (rows, height, width) of uint8"
        )
    return [text]


def _without_names_of_rows(
    records: Sequence[Record], columns: Sequence[str], place: str
) -> Sequence[str]:
    """The columns that may be texts: beside one that names what rows are about, those that are no
    numbers and no classes. Raises ValueError where there are none."""
    all_values = {name: values_of(records, name) for name in columns}
    names = [
        name
        for name, cells in all_values.items()
        # Of several columns of numbers each may be a pixel.
        if names_rows(cells) or (len(columns) == 1 and cells and _numbers_rows(name, cells))
    ]
    if not names or len(records[0]) == 1:
        return columns
    kept = [
        name
        for name, cells in all_values.items()
        if name not in names and not _are_classes(cells) and not all(map(is_number, cells))
    ]
    if not kept:
        raise ValueError(
            f"{place}: no column of texts: `{names[0]}` only names what each row is about "
            f"({all_values[names[0]][0]}). Give a table that holds the texts themselves, "
            "or, where images are named, the folder that holds both"
        )
    return kept


def _numbers_rows(name: str, values: Sequence[Any]) -> bool:
    return is_id(name, values) and all(map(is_number, values))


def names_rows(values: Sequence[Any]) -> bool:
    """Whether values are names of files, or all differ by their numbers alone (`blk_17`): what they
    name can be learned from, and they cannot."""
    texts = [str(value).strip() for value in values]
    if len(texts) < FEWEST_NAMES or any(len(text.split()) > 1 for text in texts):
        return False
    if all(text.lower().endswith(FILE_ENDINGS) for text in texts):
        return True
    # Of Chinese a word more is a sentence.
    forms = {NUMBER.sub("#", text) for text in texts if text.isascii()}
    are_letters = any(letter.isalpha() for form in forms for letter in form)
    return len(forms) == 1 and are_letters and len(set(texts)) == len(texts)


def _are_classes(values: Sequence[Any]) -> bool:
    """Whether values are a few, and each of a few words."""
    kinds = {str(value) for value in values}
    are_short = all(len(kind.split()) <= MOST_SPLIT_WORDS for kind in kinds)
    return are_short and len(kinds) <= max(2, len(values) // ROWS_A_CLASS)


def _filled(cell: Any) -> bool:
    return cell is not None and bool(str(cell).strip())


def _holds_texts(records: Sequence[Record], column: str) -> bool:
    """Whether a column holds words, and no lists or objects."""
    cells = [record.get(column) for record in records]
    are_plain = not any(isinstance(cell, list | dict) for cell in cells)
    return are_plain and num_words(records, column) > 0


def _unnamed_pair(records: Sequence[Record]) -> list[str]:
    """The two columns of a table without a header that hold texts of about one length; none where
    it has more of them, or one."""
    if not all(UNNAMED.fullmatch(column) for column in records[0]):
        return []
    lengths = {}
    for column in records[0]:
        cells = [str(record.get(column) or "") for record in records]
        are_texts = [len(cell.split()) > 1 or not cell.isascii() for cell in cells]
        # Of some hundred dates most come again; a question comes with each of its answers.
        if 2 * sum(are_texts) > len(cells) and MOST_AGAIN * len(set(cells)) >= len(cells):
            lengths[column] = sum(map(len, cells))
    is_pair = len(lengths) == 2 and 2 * min(lengths.values()) > max(lengths.values())
    return list(lengths) if is_pair else []


def num_words(records: Sequence[Record], column: str) -> int:
    """How many words a column holds."""
    return sum(len(str(record.get(column, "")).split()) for record in records)
