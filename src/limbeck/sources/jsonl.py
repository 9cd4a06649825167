"""Texts and labels in JSON lines (jsonlines.org): one object a line; the columns are those of the first."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from limbeck.sources import BadRow, OnBadRow, fail
from limbeck.sources._files import Lines, checked_header
from limbeck.sources._table import Table


@dataclass(frozen=True)
class Jsonl(Table):
    """The keys of a table."""

    suffix: ClassVar[str] = ".jsonl"

    def header(self, path: Path) -> list[str]:
        """The keys of the first object; a file without a single one is refused for its first line."""
        first = next(self.records(path, (), lambda row: None), None) or next(
            self.records(path, (), fail), None
        )
        return [] if first is None else checked_header(list(first[1]), path)

    def records(
        self, path: Path, columns: Sequence[str], bad: OnBadRow
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        lines = Lines(path)
        for line in lines:
            try:
                lines.check()
                if not line.isspace():
                    yield (
                        lines.number,
                        self._object(line.rstrip(), f"{path}:{lines.number}", columns),
                    )
            except BadRow as row:
                bad(row)

    def _object(self, line: str, place: str, columns: Sequence[str]) -> dict[str, Any]:
        """A line's object, which must have the columns. Raises BadRow."""
        try:
            found = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadRow(
                f"{place}:{error.colno}", f"not JSON: {error.msg}. Write one object a line", line
            ) from None
        except (ValueError, RecursionError):
            raise BadRow(
                place,
                "a number too long or objects too deep to read. Write one flat object a line",
                line,
            ) from None
        if not isinstance(found, dict):
            raise BadRow(
                place,
                f"a {type(found).__name__}, not an object. Write {{...}} with the columns as keys",
                line,
            )
        missing = [name for name in columns if name not in found]
        if missing:
            raise BadRow(
                place, f"no key `{missing[0]}` here. Its keys: {', '.join(found) or 'none'}", found
            )
        return found
