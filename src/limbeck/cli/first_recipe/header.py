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
    for count in range(min(MOST_ABOVE, len(lines) - FEWEST_BELOW) + 1):
        above, below = lines[:count], [line for line in lines[count:] if line.strip()]
        rows = parted(below, mark, is_quoted=is_quoted)
        widths = {len(row) for row in rows}
        if len(rows) < FEWEST_BELOW or len(widths) > 1 or widths == {1} or not lines[count].strip():
            continue
        width = widths.pop()
        if _is_title(rows[0], rows[1]) or _is_comment(rows[0], rows[1]):
            continue
        is_table = all(_is_aside(line, mark, width, is_quoted) for line in above)
        return count if is_table else None
    return None


def _is_comment(row: Sequence[str], below: Sequence[str]) -> bool:
    """Whether a row begins as a comment does, and the one below it names more columns that are
    known: `#1 String` is a column."""
    names, names_below = ({plain(cell) for cell in cells} for cells in (row, below))
    return row[0].startswith(COMMENT) and len(KNOWN & names_below) > len(KNOWN & names)


def _is_title(row: Sequence[str], below: Sequence[str]) -> bool:
    """Whether a row has one cell that holds something, and the one below it has all."""
    is_alone = bool(row[0].strip()) and not any(cell.strip() for cell in row[1:])
    return is_alone and all(cell.strip() for cell in below)


def _is_aside(line: str, mark: str, width: int, is_quoted: bool) -> bool:
    """Whether a line is no row of a table so wide."""
    if not line.strip() or line.startswith((COMMENT, SEPARATOR)):
        return True
    (row,) = parted([line], mark, is_quoted=is_quoted) or [[]]
    num_cells = len([cell for cell in row if cell.strip()])
    # R writes no name over the rows' numbers.
    is_short = num_cells == len(row) == width - 1 > 1 and not any(" " in cell for cell in row)
    if is_short or (num_cells > 1 and KNOWN & set(map(plain, row))):
        return False
    return num_cells < width and (len(row) < width or num_cells == 1)


def parted(lines: Sequence[str], mark: str, *, is_quoted: bool) -> list[list[str]]:
    """The cells of the first records; the last one, which may be cut off, is left out."""
    if not is_quoted:
        return [line.rstrip("\r\n").split(mark) for line in lines]
    rows = [row for row in csv.reader(ended_at_returns(lines), delimiter=mark) if row]
    return rows[:-1] if len(rows) > 2 else rows
