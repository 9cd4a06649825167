"""What stands above the header of a table: lines of comment, a title, or a line that says how cells
are parted.
"""

import csv
from collections.abc import Sequence

from limbeck.sources._column_names import LABEL_NAMES, TEXT_NAMES, plain
from limbeck.sources._files import ended_at_returns

COMMENT = "#"
MOST_ABOVE = 10
FEWEST_BELOW = 3  # rows, the header among them, by which a table is told
SEPARATOR = "sep="  # a line that spreadsheets write, and read, above a table
KNOWN = {*TEXT_NAMES, *LABEL_NAMES}  # by which a row is a header


def lines_above(lines: Sequence[str], marks: str, *, is_quoted: bool) -> int:
    """How many of the first lines of a file are no part of its table.

    `marks`: that may part its cells.
    """
    counts = [_above(lines, mark, is_quoted=is_quoted) for mark in marks]
    # A table from the first line on has nothing above it, however its texts part by other marks.
    return min((count for count in counts if count is not None), default=0)


def _above(lines: Sequence[str], mark: str, *, is_quoted: bool) -> int | None:
    """The lines above a table whose cells are parted by the mark; None where there is no table."""
    most = min(MOST_ABOVE, len(lines) - FEWEST_BELOW)
    for count in range(most + 1):
        if not lines[count].strip():
            continue
        below = [line for line in lines[count:] if line.strip()]
        rows = parted(below, mark, is_quoted=is_quoted)
        # 1. A table has rows of one width, and more than a column.
        widths = {len(row) for row in rows}
        if len(rows) < FEWEST_BELOW or len(widths) > 1 or widths == {1}:
            continue
        # 2. Its first row names columns.
        first, second = rows[:2]
        if _is_title(first, second) or _is_comment(first, second):
            continue
        # 3. What stands above is no row of it.
        width = widths.pop()
        is_table = all(_is_aside(line, mark, width, is_quoted) for line in lines[:count])
        return count if is_table else None
    return None


def _is_comment(row: Sequence[str], below: Sequence[str]) -> bool:
    """Whether a row begins as a comment does, and the one below it names more columns that are
    known: `#1 String` is a column."""
    names = {plain(cell) for cell in row}
    names_below = {plain(cell) for cell in below}
    knows_more = len(KNOWN & names_below) > len(KNOWN & names)
    return knows_more and row[0].startswith(COMMENT)


def _is_title(row: Sequence[str], below: Sequence[str]) -> bool:
    """Whether a row has one cell that holds something, and the one below it has all."""
    first, *others = row
    is_alone = bool(first.strip()) and not any(cell.strip() for cell in others)
    is_full = all(cell.strip() for cell in below)
    return is_alone and is_full


def _is_aside(line: str, mark: str, width: int, is_quoted: bool) -> bool:
    """Whether a line is no row of a table so wide."""
    if not line.strip() or line.startswith((COMMENT, SEPARATOR)):
        return True
    (row,) = parted([line], mark, is_quoted=is_quoted) or [[]]
    filled = [cell for cell in row if cell.strip()]
    # R writes no name over the rows' numbers.
    lacks_one = len(filled) == len(row) == width - 1 > 1
    if lacks_one and not any(" " in cell for cell in row):
        return False
    names = {plain(cell) for cell in row}
    if len(filled) > 1 and KNOWN & names:
        return False
    is_narrow = len(row) < width or len(filled) == 1
    return is_narrow and len(filled) < width


def parted(lines: Sequence[str], mark: str, *, is_quoted: bool) -> list[list[str]]:
    """The cells of the first records; the last one, which may be cut off, is left out."""
    if not is_quoted:
        return [line.rstrip("\r\n").split(mark) for line in lines]
    rows = [row for row in csv.reader(ended_at_returns(lines), delimiter=mark) if row]
    return rows[:-1] if len(rows) > 2 else rows
