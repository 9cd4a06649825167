"""The rows of a JSON document, by the layouts in which people write one.

[{...}, {...}]                        a list of rows
{"train": ..., "test": ...}           any of these by split; `split` is a column then
{"data": [{...}, {...}], ...}         the one list of rows, of a usual name or alone
{"columns": [...], "data": [[...]]}   pandas' `to_json(orient="split")`
{"text": [...], "label": [...]}       a list for each column
{"text": {"0": ...}, "label": ...}    pandas' `to_json()`: an object for each column
{"17": {...}, "18": {...}}            rows by their ids
{"spam": [...], "ham": [...]}         texts, or rows without a `label`, by their label
"""

from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.sources._split_files import split_of
from limbeck.sources._table import LABEL, SPLIT, TEXT

# Names of the one list of rows in an object.
LISTS = ("data", "rows", "examples", "instances", "items", "records", "intents", "common_examples")
WORDS = ("words", "tokens")
MOST_WRAPPED = 4  # objects of one key around the rows
# Fewer objects side by side may be the parts of one row.
FEWEST_BY_ID = 5
TEXT_WORDS = 2  # of a text, in the middle: a list of shorter ones is no column of texts


def rows_of(content: Any) -> list[Any] | None:
    """The rows of a document; None where it is none of the layouts above."""
    return _rows(content, MOST_WRAPPED)


def few_rows_of(content: Any) -> list[Any] | None:
    """The rows of a document that may be a row itself: by split, or one list of a usual name."""
    if isinstance(content, list):
        return _row_list(content)
    if not isinstance(content, dict):
        return None
    return _by_split(content, 0) or _named_list(content)


def _rows(content: Any, depth: int) -> list[Any] | None:
    if not isinstance(content, dict):
        return _row_list(content)
    found = _by_split(content, depth) or _of_pandas(content) or _named_list(content)
    if found or not content:
        return found
    if len(content) > 1:
        return _by_column(content) or _by_id(content) or _by_label(content)
    # An object around the rows, such as `{"rasa_nlu_data": {"common_examples": [...]}}`.
    (only,) = content.values()
    rows = _rows(only, depth - 1) if depth else None
    return rows if rows and len(rows) > 1 else None


def _row_list(content: Any) -> list[Any] | None:
    is_rows = isinstance(content, list) and content and all(map(_is_row, content))
    return content if is_rows else None


def _is_row(value: Any) -> bool:
    """Whether a value is a row: an object, or a list of cells as long as a table is wide."""
    is_list = isinstance(value, list) and len(value) > 1
    return isinstance(value, dict) or (is_list and isinstance(value[0], str))


def named_row(row: Any) -> dict[str, Any]:
    """A row as an object."""
    if isinstance(row, dict):
        return row
    return {f"column_{number}": cell for number, cell in enumerate(row, 1)}


def _by_split(content: Mapping[str, Any], depth: int) -> list[Any] | None:
    """Rows of splits, where each key with rows is one; other keys hold none."""
    if not any(map(split_of, content)):
        return None
    found: dict[str, list[Any]] = {}
    for key, value in content.items():
        rows = _rows(value, depth - 1) if depth else _row_list(value)
        if rows:
            found[key] = rows
    if not found or not all(split_of(key) for key in found):
        return None
    return [{**named_row(row), SPLIT: split} for split, rows in found.items() for row in rows]


def _named_list(content: Mapping[str, Any]) -> list[Any] | None:
    named = next((rows for name in LISTS if (rows := _row_list(content.get(name)))), None)
    # A list of texts with their spans; of objects they would be the boxes of images.
    pairs = _row_list(content.get("annotations"))
    return named or (pairs if pairs and isinstance(pairs[0], list) else None)


def _of_pandas(content: Mapping[str, Any]) -> list[Any] | None:
    """Rows as lists of cells, beside a list of the columns' names."""
    columns, rows = content.get("columns"), content.get("data")
    if not isinstance(columns, list) or not isinstance(rows, list) or not rows:
        return None
    if not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
        return None
    return [dict(zip(map(str, columns), row, strict=True)) for row in rows]


def _by_column(content: Mapping[str, Any]) -> list[Any] | None:
    """A row for each place in as many lists, or for each key of as many objects."""
    columns = list(content.values())
    if all(isinstance(column, dict) for column in columns):
        places = list(columns[0])
        is_numbered = bool(places) and all(place.isdigit() for place in places)
        if not is_numbered or any(column.keys() != columns[0].keys() for column in columns):
            return None
        return [{name: cells[place] for name, cells in content.items()} for place in places]
    if not all(isinstance(column, list) and column for column in columns):
        return None
    num_rows = len(columns[0])
    # Lists of words and tags are one sentence; lists of texts alone lie by label.
    is_sentence = any(isinstance(content.get(name, [[]])[0], str) for name in WORDS)
    if is_sentence or any(len(column) != num_rows for column in columns):
        return None
    if not {*TEXT, *WORDS, *LABEL} & {name.lower() for name in content} and _are_texts(columns):
        return None
    if any(isinstance(column[0], dict) for column in columns):
        return None
    return [dict(zip(content, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _are_texts(columns: Sequence[list[Any]]) -> bool:
    """Whether all cells are texts, none of which comes again."""
    cells = [cell for column in columns for cell in column]
    if not all(isinstance(cell, str) for cell in cells):
        return False
    counts = sorted(len(cell.split()) for cell in cells)
    return counts[len(counts) // 2] >= TEXT_WORDS and len(set(cells)) == len(cells)


def _by_id(content: Mapping[str, Any]) -> list[Any] | None:
    """The objects of a document that have the first one's keys, or most of them."""
    rows = list(content.values())
    if len(rows) < FEWEST_BY_ID or not all(isinstance(row, dict) and row for row in rows):
        return None
    names = rows[0].keys()
    is_alike = all(2 * len(names & row.keys()) >= len(names) for row in rows)
    return rows if is_alike else None


def _by_label(content: Mapping[str, Any]) -> list[Any] | None:
    """The texts, or rows, of lists; with the key of its list as the label of each."""
    groups = list(content.values())
    if not all(isinstance(group, list) and group for group in groups):
        return None
    cells = [cell for group in groups for cell in group]
    # The words of one sentence would be lists of texts, too.
    if all(isinstance(cell, str) for cell in cells) and not content.keys() & {*TEXT, *WORDS}:
        text, label = TEXT[0], LABEL[0]
        return [{text: cell, label: key} for key, group in content.items() for cell in group]
    if not all(isinstance(cell, dict) and LABEL[0] not in cell for cell in cells):
        return None
    # Objects of several kinds are tables of their own, such as images and their boxes.
    if any(group[0].keys() != cells[0].keys() for group in groups):
        return None
    return [{**row, LABEL[0]: key} for key, group in content.items() for row in group]
