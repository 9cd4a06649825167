"""Texts and labels in comma-separated files.

As in RFC 4180, a field in double quotes may hold the delimiter, line breaks, and quotes that are
written twice. Unlike there, a line may end with a line feed alone, or a carriage return alone.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from limbeck.core import wording
from limbeck.sources import BadRow, OnBadRow, fail
from limbeck.sources._files import Lines, checked_header, ended_at_returns, record
from limbeck.sources._table import Table

# Python stops at 131,072 characters unless told otherwise; a document may be longer. Without any
# limit a quote that is not closed would swallow a file of any size.
MOST_FIELD_CHARACTERS = 1 << 24
DOUBLE = "double"
# What the library calls each kind of quoting.
QUOTINGS: dict[str, Literal[0, 3]] = {DOUBLE: csv.QUOTE_MINIMAL, "none": csv.QUOTE_NONE}
csv.field_size_limit(MOST_FIELD_CHARACTERS)


@dataclass(frozen=True)
class Csv(Table):
    """Beside the keys of every table:

    `delimiter`: the one character between fields.
    `columns`: the names of the columns, where the file has no header.
    `encoding`: of the files, where they are not UTF-8.
    `skip_lines`: how many lines above the header are no part of the table, such as a title.
    `quoting`: `double`, as above; `none` where a quote is a character like any other, as in a tsv.
    """

    delimiter: str = ","
    columns: list[str] | None = None
    encoding: str | None = None
    quoting: str = DOUBLE
    skip_lines: int = 0

    suffixes: ClassVar[tuple[str, ...]] = (".csv",)

    def header(self, path: Path) -> list[str]:
        """The columns of a file; none where it is empty. Raises ValueError."""
        if self.columns:
            return checked_header(self.columns, path)
        first = next(self._rows_of_fields(Lines(path, self.encoding, self.skip_lines), fail), None)
        if first is None:
            return []
        _, fields = first
        return checked_header(fields, path)

    def records(
        self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """(its first line, its cells by column) of each record."""
        header = self.header(path)
        cure = f"Put a field that holds `{self.delimiter}` into double quotes"
        rows_of_fields = self._rows_of_fields(
            Lines(path, self.encoding, self.skip_lines), on_bad_row
        )
        if not self.columns:
            next(rows_of_fields)  # the header itself
        for number, fields in rows_of_fields:
            try:
                yield str(number), record(header, fields, cure)
            except ValueError as error:
                on_bad_row(BadRow(f"{path}:{number}", str(error), fields))

    def _rows_of_fields(
        self, lines: Lines, on_bad_row: OnBadRow
    ) -> Iterator[tuple[int, list[str]]]:
        """(its first line, its fields) of each record that is not blank."""
        if len(self.delimiter) != 1:
            raise ValueError(f"data.delimiter: one character, not {self.delimiter!r}")
        if self.quoting not in QUOTINGS:
            suggestion = wording.suggest(self.quoting, QUOTINGS)
            raise ValueError(f"data.quoting: `{self.quoting}` is none. {suggestion}")
        # `strict`: without it a quote in a wrong place is quietly taken for a character.
        narrow = ended_at_returns(lines.narrow(self.delimiter))
        quoting = QUOTINGS[self.quoting]
        reader = csv.reader(narrow, delimiter=self.delimiter, quoting=quoting, strict=True)
        while True:
            # A record may take several lines; it is named by the one where it begins.
            number = self.skip_lines + reader.line_num + 1
            try:
                fields = next(reader)
                lines.check()
            except StopIteration:
                return
            except BadRow as row:
                on_bad_row(row)
            except csv.Error as error:
                problem = f"{_quoting_problem(str(error))} (read up to line {lines.number})"
                on_bad_row(BadRow(f"{lines.path}:{number}", problem))
            else:
                if fields:  # none in a blank line
                    yield number, fields


def _quoting_problem(error: str) -> str:
    """What is wrong with the quotes, and the cure."""
    # A quote that is not closed swallows the rest of the file, up to the longest field.
    if "end of data" in error or "field limit" in error:
        return (
            "a quote that begins here is never closed. "
            'Close it, or write "" for a quote inside a quoted field'
        )
    return (
        f"broken quoting: {error}. "
        'Put the whole field into double quotes, and write "" for a quote inside it'
    )
