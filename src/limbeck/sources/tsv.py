"""Texts and labels in tab-separated files: one row a line, fields between tabs.

There is no quoting: a quotation mark is a character like any other, as in the files of GLUE.
"""

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
    """Beside the keys of every table:

    `columns`: the names of the columns, where the file has no header.
    `encoding`: of the files, where they are not UTF-8.
    `skip_lines`: how many lines above the header are no part of the table, such as a title.
    """

    columns: list[str] | None = None
    encoding: str | None = None
    skip_lines: int = 0

    suffixes: ClassVar[tuple[str, ...]] = (".tsv", ".tab", ".txt")

    def header(self, path: Path) -> list[str]:
        """The columns of a file; none where it is empty. Raises ValueError."""
        if self.columns:
            return checked_header(self.columns, path)
        lines = Lines(path, self.encoding, self.skip_lines)
        first = next(lines.narrow("\t"), None)
        lines.check()
        return [] if first is None else checked_header(_fields(first), path)

    def records(
        self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """(its line, its cells by column) of each line that is not blank."""
        header = self.header(path)
        lines = Lines(path, self.encoding, self.skip_lines)
        for line in lines.narrow("\t"):
            is_header = lines.number == self.skip_lines + 1 and not self.columns
            if is_header or (line.isspace() and not lines.problem):
                continue
            try:
                lines.check()
                yield str(lines.number), record(header, _fields(line), CURE)
            # A BadRow is a ValueError that knows its place already.
            except BadRow as row:
                on_bad_row(row)
            except ValueError as error:
                on_bad_row(BadRow(f"{path}:{lines.number}", str(error), line))


def _fields(line: str) -> list[str]:
    # Line ends alone are cut off: an empty last field is a tab at the end of the line.
    return line.rstrip("\r\n").split("\t")
