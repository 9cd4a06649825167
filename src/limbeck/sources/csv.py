"""Texts and labels in comma-separated files (RFC 4180: a field in double quotes may hold the delimiter, line breaks and doubled quotes)."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from limbeck.sources import BadRow, OnBadRow, fail
from limbeck.sources._files import Lines, checked_header, record
from limbeck.sources._table import Table


@dataclass(frozen=True)
class Csv(Table):
    """The keys of a table; `delimiter` between fields; `columns`: their names, where the file has no header."""

    delimiter: str = ","
    columns: list[str] | None = None

    suffix: ClassVar[str] = ".csv"

    def header(self, path: Path) -> list[str]:
        if self.columns:
            return checked_header(self.columns, path)
        lines = Lines(path)
        first = next(self._cells(lines, fail), None)
        return [] if first is None else checked_header(first[1], path)

    def records(
        self, path: Path, columns: Sequence[str], bad: OnBadRow
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        header, cells = self.header(path), self._cells(Lines(path), bad)
        if not self.columns:
            next(cells)
        cure = f"Put a field that holds `{self.delimiter}` into double quotes"
        for number, found in cells:
            try:
                yield number, record(header, found, cure)
            except ValueError as error:
                bad(BadRow(f"{path}:{number}", str(error), found))

    def _cells(self, lines: Lines, bad: OnBadRow) -> Iterator[tuple[int, list[str]]]:
        """(first line, fields) of each record that is not blank."""
        if len(self.delimiter) != 1:
            raise ValueError(f"data.delimiter: one character, not {self.delimiter!r}")
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        while True:
            number = reader.line_num + 1
            try:
                cells = next(reader)
                lines.check()
            except StopIteration:
                return
            except BadRow as row:
                bad(row)
            except csv.Error as error:
                bad(
                    BadRow(
                        f"{lines.path}:{number}",
                        f"{_reason(str(error))} (read up to line {lines.number})",
                    )
                )
            else:
                if cells:
                    yield number, cells


def _reason(error: str) -> str:
    """What is wrong with the quotes, and the cure."""
    if "end of data" in error or "field limit" in error:
        return 'a quote that begins here is never closed. Close it, or write "" for a quote inside a quoted field'
    return f'broken quoting: {error}. Put the whole field into double quotes, and write "" for a quote inside it'
