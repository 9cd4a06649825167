"""Which change mends a mistake beyond doubt: the name or the value that a slip stands for."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from limbeck.core import wording
from limbeck.core.schedules import NUMBER
from limbeck.recipe.problems import Fix

# `5 %` in place of .05.
PERCENT = re.compile(rf"\s*({NUMBER})\s*%\s*")
# How messages begin to say what a value may be.
EXPECTED = "Input should be "


def rename(
    path: Sequence[str],
    choices: Iterable[str],
    *,
    beside: Iterable[str],
    elsewhere: Iterable[str],
) -> Fix | None:
    """The fix of an unknown key; None where it is not certain.

    `choices`: the keys that there are. `beside`: those that stand beside it, which it cannot be
    meant to be. `elsewhere`: those of other stages: a key of that name may be misplaced.
    """
    key = path[-1]
    taken = set(beside)
    free = [choice for choice in choices if choice not in taken]
    meant = None if key in elsewhere else wording.certain(key, free)
    return Fix(tuple(path), name=meant) if meant else None


def replaced(path: Sequence[str], value: Any, message: str) -> Fix | None:
    """The fix of a wrong value, by a message that says what it should be; None where it is not
    certain."""
    found = meant_by(value, message)
    return None if found is None else Fix(tuple(path), value=found)


def meant_by(value: Any, message: str) -> str | int | float | None:
    """What was meant by a text in the place of another word, or of a number; None where that is
    open.

    >>> meant_by("unit8", "Input should be 'uint8' or 'float'")
    'uint8'
    >>> meant_by("5%", "Input should be a number"), meant_by("0.5", "Input should be a number")
    (0.05, 0.5)
    """
    expected = message.partition(EXPECTED)[2]
    if not isinstance(value, str) or not expected:
        return None
    choices = re.findall("'([^']+)'", expected)
    if choices:
        return wording.certain(value, choices)
    percent = PERCENT.fullmatch(value)
    # A whole number of epochs or rows is no share of anything.
    is_share = "number" in expected and "whole" not in expected and "integer" not in expected
    if percent and is_share and 0 < float(percent[1]) <= 100:
        return float(f"{float(percent[1]) / 100:g}")
    if "number" in expected and re.fullmatch(NUMBER, value.strip()):
        number = float(value)
        return int(number) if number.is_integer() and "." not in value else number
    return None
