"""Texts and labels in JSON lines (jsonlines.org): one object a line.

The columns are the keys of the first object; another may have more keys, in any order.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from limbeck.sources import BadRow, OnBadRow, fail
from limbeck.sources._files import Lines, checked_header
from limbeck.sources._table import Table

MOST_DEPTH = 50  # of lists and objects in a line: what is read is two deep
TOO_DEEP = "a number too long or objects too deep to read. Write one flat object a line"
SURROGATE = (
    "half of a character (a \\u escape from \\ud800 to \\udfff without its partner), which no file "
    "can hold. Write the whole character, or remove it"
)


@dataclass(frozen=True)
class Jsonl(Table):
    """The keys of every table, and no other."""

    suffix: ClassVar[str] = ".jsonl"

    def header(self, path: Path) -> list[str]:
        """The keys of the first line that is an object; none where the file is empty.

        Raises BadRow for the first bad line where no line is an object.
        """
        first = next(self.records(path, (), lambda row: None), None)
        if first is None:
            # Once more, to say what is wrong with the lines that there are.
            first = next(self.records(path, (), fail), None)
        if first is None:
            return []
        _, keys_and_values = first
        return checked_header(list(keys_and_values), path)

    def records(
        self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """(its line, its object) of each line that is not blank."""
        lines = Lines(path)
        for line in lines:
            try:
                lines.check()
                if not line.isspace():
                    yield lines.number, _object(line, f"{path}:{lines.number}", columns)
            except BadRow as row:
                on_bad_row(row)


def has_lone_surrogate(found: Any, line: str) -> bool:
    """Whether a text somewhere in the object read from `line` is no Unicode: half a character."""
    # Only an escape can write one, and few lines have such an escape.
    if "\\ud" not in line and "\\uD" not in line:
        return False
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def is_deeper(found: Any, most: int, line: str) -> bool:
    """Whether more than `most` lists or objects stand inside each other in what `line` holds."""
    # Few lines have so many brackets.
    if line.count("[") + line.count("{") <= most:
        return False
    level = [found]
    for _ in range(most + 1):
        level = [part for each in level for part in _parts(each)]
        if not level:
            return False
    return True


def _parts(value: Any) -> list[Any]:
    """The lists and objects that stand directly in a list or an object."""
    inside = value.values() if isinstance(value, dict) else value
    return [part for part in inside if isinstance(part, dict | list)]


def _object(line: str, place: str, columns: Sequence[str]) -> dict[str, Any]:
    """A line's object, which has `columns` among its keys. Raises BadRow."""
    line = line.rstrip()  # or an error at the end of the line would be placed on the next one
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        problem = f"not JSON: {error.msg}. Write one object a line"
        raise BadRow(f"{place}:{error.colno}", problem, line) from None
    except (ValueError, RecursionError):  # more than 4,300 digits; brackets inside brackets
        raise BadRow(place, TOO_DEEP, line) from None
    if isinstance(found, dict) and is_deeper(found, MOST_DEPTH, line):
        raise BadRow(place, TOO_DEEP, line)
    if has_lone_surrogate(found, line):
        raise BadRow(place, SURROGATE, line)
    if not isinstance(found, dict):
        kind = type(found).__name__
        problem = f"a {kind}, not an object. Write {{...}} with the columns as keys"
        raise BadRow(place, problem, line)
    # A key that is missing is not taken for an empty cell: it may be misspelt.
    missing = [name for name in columns if name not in found]
    if missing:
        problem = f"no key `{missing[0]}` here. Its keys: {', '.join(found) or 'none'}"
        raise BadRow(place, problem, found)
    return found
