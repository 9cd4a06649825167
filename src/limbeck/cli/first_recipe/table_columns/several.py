"""Cells that hold several labels of a row: lists, `sport;europe`, `python, pandas`, `<sql><c#>`."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from limbeck.sources._cells.labels import ANGLES, FEWEST_JOINS, WHOLE, joined_by, parts_of

SEPARATORS = (";", "|", ",")
IN_ANGLES = re.compile(r"(<[^<>]*>)*")
# By commas people write places too (`Lyon, France`), whose first part stands in one cell alone.
CELLS_A_PART = 2


def separator_of(cells: Sequence[Any]) -> str | None:
    """What stands between the labels of a cell; None where a cell is one label."""
    lists = [cell for cell in cells if isinstance(cell, list)]
    if lists:
        # Some tools write the one label of a row as a list.
        return None if all(len(cell) == 1 for cell in lists) else SEPARATORS[0]
    texts = [str(cell).strip() for cell in cells]
    if any(ANGLES in text for text in texts) and all(map(IN_ANGLES.fullmatch, texts)):
        return ANGLES
    if texts and all(text.startswith("[") and text.endswith("]") for text in texts):
        return SEPARATORS[0]
    joining = joined_by(texts)
    if joining:
        return joining[0]
    for separator in SEPARATORS:
        joined = {text for text in texts if separator in text}
        parts = [part.strip() for text in joined for part in text.split(separator)]
        alone = {text for text in texts if separator not in text}
        # Parts that come again, in other company or alone: else the mark belongs to a name.
        comes_again = len(set(parts)) < len(parts) and len(joined) > 1
        if separator == ",":
            comes_again = _are_mixed(joined, parts)
        if joined and (alone & set(parts) or comes_again):
            return separator
    return None


def _are_mixed(joined: set[str], parts: Sequence[str]) -> bool:
    """Whether parts between commas stand in several cells each, in other company."""
    are_names = all(parts) and len(joined) >= FEWEST_JOINS
    return are_names and len(parts) >= CELLS_A_PART * len(set(parts))


def num_classes(cells: Sequence[Any]) -> int:
    """How many labels cells hold, of which each may hold several."""
    separator = separator_of(cells)
    if separator is None or any(isinstance(cell, list) for cell in cells):
        return len({str(cell) for cell in cells})
    return len(_labels(cells, separator))


def _labels(cells: Sequence[Any], separator: str) -> set[str]:
    texts = {str(cell).strip() for cell in cells}
    return {str(part).strip() for text in texts for part in parts_of(text, separator)} - {""}


def told_several(cells: Sequence[Any], separator: str) -> str:
    """What parts the labels, how many there are, and how to take each cell for one class; nothing
    where nothing else could be meant."""
    joined = [str(cell) for cell in cells if separator in str(cell)]
    if any(isinstance(cell, list) for cell in cells) or not joined or separator in ";|":
        return ""
    count = len({str(cell) for cell in cells})
    names = _labels(cells, separator)
    other = "task: text-classification, without data.label_separator"
    numbers = "; for numbers with a fraction write a point in place of the comma"
    of_numbers = numbers if separator == "," and all(map(WHOLE.fullmatch, names)) else ""
    return (
        f", joined by `{separator}` ({joined[0]}): {count} in all, of {len(names)} labels. To take "
        f"each join for a class: {other}{of_numbers}"
    )


def are_several_numbers(cells: Sequence[str]) -> bool:
    """Whether whole numbers between commas are labels by their numbers (`2,5`), and no fractions:
    they rise, as lists of labels are written, and some of them stand alone."""
    joined = [cell.split(",") for cell in set(cells) if "," in cell]
    parts = {part for numbers in joined for part in numbers}
    # `3,05` and `0,5` of marks out of ten; `1,5` and `2,5` alone are halves.
    if not all(map(WHOLE.fullmatch, parts)) or len({numbers[-1] for numbers in joined}) < 2:
        return False
    rise = all(int(one) < int(next_) for numbers in joined for one, next_ in pairwise(numbers))
    return rise and bool(parts & set(cells))
