"""Texts and labels in JSON lines (jsonlines.org): one object a line.

Or in one JSON document, of the layouts of `_json_documents`; or objects over several lines each,
one behind the other. A list in place of an object has the columns `column_1`, `column_2`, ...

The columns are the keys of the first object; another may have more keys, in any order. What lies in
an object in it has a column for each of its values: `utterance.text`.
"""

import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

from limbeck.core import wording
from limbeck.sources import BadRow, OnBadRow, Patience, fail
from limbeck.sources._files import Lines, checked_header
from limbeck.sources._json_documents import few_rows_of, named_row, rows_of
from limbeck.sources._table import Table
from limbeck.sources._unpacked import bare_name

OPENING = ("[", "{")
# Of a document, bytes of lists and objects as Python holds them, the least that each takes with its
# place in another (an empty list, an object of one key); and how many may be open at a time. Those
# within texts, smileys, are counted too.
MOST_BYTES = 250_000_000
LIST_BYTES = 90
OBJECT_BYTES = 230
MOST_OPEN = 50_000

MOST_NESTED = 4  # objects in each other whose values are columns
MOST_DEPTH = 50  # of lists and objects in a line: what is read is two deep
TOO_DEEP = "a number too long or objects too deep to read. Write one flat object a line"
NO_ROWS = (
    "one JSON document, and nothing in it is a list of rows (it holds {held}). Write an object a "
    'row: [{{"text": ..., "label": ...}}, ...]'
)
SPACE = re.compile(r"\s*")
SHOWN = 8  # keys of a document
SURROGATE = (
    "half of a character (a \\u escape from \\ud800 to \\udfff without its partner), which no file "
    "can hold. Write the whole character, or remove it"
)


@dataclass(frozen=True)
class Jsonl(Table):
    """Beside the keys of every table:

    `encoding`: of the files, where they are not UTF-8, as JSON should be.
    """

    encoding: str | None = None

    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".json", ".ndjson")

    def header(self, path: Path) -> list[str]:
        """The keys of the first object; none where the file is empty.

        Raises BadRow for the first bad line where no line is an object.
        """
        first = next(self.records(path, (), Patience()), None)
        if first is None:
            # Once more, to say what is wrong with the lines that there are.
            first = next(self.records(path, (), fail), None)
        if first is None:
            return []
        _, keys_and_values = first
        return checked_header(list(keys_and_values), path)

    def records(
        self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """(its line, its object) of each line that is not blank, or of each row of a document."""
        document = document_of(path, self.encoding)
        if document is not None:
            for number, record in enumerate(document, 1):
                where = f"row {number}"
                place = f"{path}: {where}"
                try:
                    row = flat(named_row(_checked(record, place)))
                    yield where, _with_columns(row, place, columns)
                except BadRow as row:
                    on_bad_row(row)
            return
        lines = Lines(path, self.encoding)
        for line in lines:
            try:
                lines.check()
                if not line.isspace():
                    place = f"{path}:{lines.number}"
                    yield str(lines.number), _with_columns(_object(line, place), place, columns)
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


def document_of(path: Path, encoding: str | None = None) -> list[Any] | None:
    """The rows of a file that is one JSON document; None where it is lines, or no JSON.

    Raises ValueError for a document without rows, for one of more lists and objects than is read,
    and for bytes in it that are not UTF-8.
    """
    # 1. Lines of JSON have a whole object in the first one, and more lines.
    reader = Lines(path, encoding)
    lines = (line for line in reader if not line.isspace())
    first = next(lines, "")
    if not first.lstrip().startswith(OPENING):
        return None
    # One line can hold a whole document.
    _joined(first, iter(()), path)
    try:
        content = json.loads(first)
        if next(lines, None) is not None:
            return None
    except (ValueError, RecursionError):
        # 2. Else the whole is one, or its lines are told one by one.
        whole = _joined(first, lines, path)
        try:
            content = None if whole is None else _parsed(whole)
        except (ValueError, RecursionError):
            return None
        if content is not None and rows_of(content) is None:
            raise ValueError(f"{path}: {NO_ROWS.format(held=_told(content))}") from None
    # Where each line may be a row, so may the only one.
    is_one = bare_name(path).lower().endswith(".json")
    rows = rows_of(content) if is_one else few_rows_of(content)
    if rows is not None:
        reader.check()
    return rows


def _told(content: Any) -> str:
    """What a document holds, in words."""
    if isinstance(content, list):
        return f"a list of {len(content):,} that are no objects"
    return wording.some([f"`{key}`" for key in content], SHOWN) or "nothing"


def _parsed(whole: str) -> Any:
    """A document, or the list of the objects that stand one behind the other, each over several
    lines as tools print them. Raises ValueError."""
    try:
        return json.loads(whole)
    except json.JSONDecodeError:
        pass
    decoder = json.JSONDecoder()
    found = []
    place = SPACE.match(whole).end()  # type: ignore[union-attr]
    while place < len(whole):
        value, end = decoder.raw_decode(whole, place)
        if not isinstance(value, dict):
            raise ValueError("no object")
        found.append(value)
        place = SPACE.match(whole, end).end()  # type: ignore[union-attr]
    return found


def _joined(first: str, lines: Iterator[str], path: Path) -> str | None:
    """The lines as one text; None where their brackets lie too deep for any document. Raises
    ValueError for more of them than is read."""
    whole = io.StringIO()
    num_opened = 0
    num_closed = 0
    num_bytes = 0
    for line in chain([first], lines):
        num_lists = line.count("[")
        num_objects = line.count("{")
        num_opened += num_lists + num_objects
        num_bytes += num_lists * LIST_BYTES + num_objects * OBJECT_BYTES
        num_closed += line.count("]") + line.count("}")
        if num_opened - num_closed > MOST_OPEN:
            return None
        if num_bytes > MOST_BYTES:
            raise ValueError(
                f"{path}: {num_opened:,} lists and objects or more in one JSON document, which is "
                f"held in memory as a whole: they take over {MOST_BYTES:,} bytes. Write one object "
                "a line (.jsonl)"
            )
        whole.write(line)
    return whole.getvalue()


def flat(row: Any, most_deep: int = MOST_NESTED) -> Any:
    """A row whose objects of plain values are a column for each of these: `utterance.text`.

    >>> flat({"id": 1, "utterance": {"text": "hi", "by": {"name": "Ada"}}})
    {'id': 1, 'utterance.text': 'hi', 'utterance.by.name': 'Ada'}
    """
    has_objects = isinstance(row, dict) and any(isinstance(cell, dict) for cell in row.values())
    if not has_objects or most_deep == 0:
        return row
    found: dict[str, Any] = {}
    for key, cell in row.items():
        inside = flat(cell, most_deep - 1) if isinstance(cell, dict) else None
        # Lists in an object are a layout of their own, such as spans by their names.
        if not inside or any(isinstance(value, list | dict) for value in inside.values()):
            found[key] = cell
        else:
            found |= {f"{key}.{name}": value for name, value in inside.items()}
    return found


def _with_columns(row: Any, place: str, columns: Sequence[str]) -> dict[str, Any]:
    """A row as an object, which has `columns` among its keys. Raises BadRow."""
    found = named_row(row)
    # A key that is missing is not taken for an empty cell: it may be misspelt.
    missing = [name for name in columns if name not in found]
    if missing:
        problem = f"no key `{missing[0]}` here. Its keys: {', '.join(found) or 'none'}"
        raise BadRow(place, problem, found)
    return found


def _checked(row: Any, place: str) -> Any:
    """A row of a document. Raises BadRow where it is nested too deep, or is no Unicode."""
    line = json.dumps(row)
    if is_deeper(row, MOST_DEPTH, line):
        raise BadRow(place, TOO_DEEP, line)
    if has_lone_surrogate(row, line):
        raise BadRow(place, SURROGATE, line)
    return row


def _object(line: str, place: str) -> dict[str, Any]:
    """A line's object. Raises BadRow."""
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
        kind = wording.json_kind(found)
        problem = f"{kind}, not an object. Write {{...}} with the columns as keys"
        raise BadRow(place, problem, line)
    return flat(found)
