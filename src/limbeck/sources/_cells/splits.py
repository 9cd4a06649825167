"""Which split a cell of a table names: a word (`train`, TRIAL, `L`), or the answer of a column that
asks for one (`is_train`: 1 or 0).
"""

from collections.abc import Iterable
from typing import Any

from limbeck.sources._cells.record import share_of
from limbeck.sources._split_files import split_of

# Words that say a split in a cell alone; in the name of a file they may mean anything: SemEval's
# sets for development, Kaggle's of two leader boards (FER-2013, whose authors validate on the
# public one), and the first letters of learn, train, test and validate.
WORDS_OF_CELLS = {
    "trial": "validation",
    "publictest": "validation",
    "privatetest": "test",
    "learn": "train",
    "l": "train",
    "tr": "train",
    "t": "test",
    "te": "test",
    "va": "validation",
}
# What rows are that are not of the split that a column asks for: all that is not kept to judge by
# is trained on, and what is not trained on is kept to judge by.
NOT_OF = {"train": "test", "validation": "train", "test": "train", "unlabelled": "train"}


def split_of_cell(cell: Any, column: str) -> str | None:
    """The split that a cell of a column names; None where it names none.

    >>> split_of_cell("TRIAL", "SemEval_set"), split_of_cell(0, "is_train")
    ('validation', 'test')
    """
    # In `is_train` a T is True, and in `partition` it is the test.
    asked = split_of(column)
    flag = flag_of(cell)
    if asked and flag is not None:
        return asked if flag else NOT_OF[asked]
    text = str(cell).strip()
    return WORDS_OF_CELLS.get(text.lower()) or split_of(text)


def splits_told(values: Iterable[str], column: str) -> str:
    """What each value of a column is read as: `0 is test, 1 is train`."""
    return ", ".join(f"{value} is {split_of_cell(value, column)}" for value in values)


def flag_of(cell: Any) -> bool | None:
    """Whether a cell says yes; None where it says neither yes nor no."""
    try:
        share = share_of(cell, "")
    except ValueError:
        return None
    return bool(share) if share in (0, 1) else None
