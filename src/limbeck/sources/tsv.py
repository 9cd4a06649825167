"""Texts and labels in tab-separated files: one row a line, no quoting, so that a quotation mark is a character like any other (as in GLUE)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from limbeck.sources import BadRow, OnBadRow
from limbeck.sources._files import Lines, checked_header, record
from limbeck.sources._table import Table

CURE = "Replace a tab or a line break inside a field"


@dataclass(frozen=True)
class Tsv(Table):
    """The keys of a table; `columns`: their names, where the file has no header."""

    columns: list[str] | None = None

    suffix: ClassVar[str] = ".tsv"

    def header(self, path: Path) -> list[str]:
        if self.columns:
            return checked_header(self.columns, path)
        lines = Lines(path)
        first = next(iter(lines), None)
        lines.check()
        return [] if first is None else checked_header(first.rstrip("\r\n").split("\t"), path)

    def records(
        self, path: Path, columns: Sequence[str], bad: OnBadRow
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        header, lines = self.header(path), Lines(path)
        for line in lines:
            if (lines.number == 1 and not self.columns) or line.isspace():
                continue
            try:
                lines.check()
                yield lines.number, record(header, line.rstrip("\r\n").split("\t"), CURE)
            except BadRow as row:
                bad(row)
            except ValueError as error:
                bad(BadRow(f"{path}:{lines.number}", str(error), line))
