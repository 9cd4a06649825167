"""Tables of text for a terminal."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # rich takes 50 ms to import, and is used where something is shown alone
    from rich.console import Console, RenderableType

WIDTH = 100  # characters that a table of numbers may take


def wide_console() -> "Console":
    """Where tables of numbers are printed: a narrow terminal breaks their lines, and not, as rich
    would, the words of each cell."""
    from rich.console import Console

    # rich would colour numbers.
    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    return console


def table(
    head: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, numbers: int = sys.maxsize
) -> "RenderableType":
    """Rows of text below a head, without a frame.

    `numbers`: the first column of numbers; it and all after it are set to the right and stand
    close together.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    has_numbers = numbers < len(head)
    table = Table(*head, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=has_numbers)
    for column in table.columns:
        # A word that is wider than its column goes on below: cut off it would name nothing.
        column.overflow = "fold"
    for column in table.columns[numbers:]:
        column.justify = "right"
    for row in rows:
        # Text, not str: rich would take the [brackets] of a docstring for markup.
        table.add_row(*map(Text, row))
    return table
