"""What a notebook shows: small tables of HTML, and a line of progress that is redrawn in place.

Nothing of it needs ipywidgets: a cell's output is replaced by a display of IPython itself, which
Jupyter, VS Code and Colab draw alike.
"""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

from limbeck.core.events import Event, Progress, Reporter, Started, silent
from limbeck.core.terminal.console import OpenStages, leaves_a_line, on_stderr


def is_notebook() -> bool:
    """Whether this process answers the cells of a notebook; IPython in a terminal does not."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    # Only a kernel has a connection to whoever shows its output.
    return shell is not None and type(shell).__name__ != "TerminalInteractiveShell"


def html_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table of plain cells as HTML. Each cell is escaped: it may be a user's text."""
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    lines = [f"<tr>{titles}</tr>"]
    for row in rows:
        cells = "".join(f"<td>{escape(str(cell))}</td>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def bar(share: float) -> str:
    """A share of 0 to 1 as a bar that the browser draws, with its figure for who cannot see it."""
    return f'<progress value="{share:.4f}" max="1" style="width:8em">{share:.0%}</progress>'


@contextlib.contextmanager
def progress() -> Iterator[Reporter]:
    """Where a call from Python shows what it does: below the cell of a notebook, as a live line of
    a terminal, and nowhere else, since a program's log is its own."""
    if is_notebook():
        yield NotebookLine()
    elif sys.stderr.isatty():
        with on_stderr() as tell:
            yield tell
    else:
        yield silent


class NotebookLine:
    """Shows events below a cell: the lines that stay, and under them one that is redrawn."""

    def __init__(self) -> None:
        from IPython.display import DisplayHandle

        self.stages = OpenStages()
        self.handle = DisplayHandle()
        self.kept: list[str] = []
        self.is_shown = False

    def __call__(self, event: Event) -> None:
        self.stages.begin(event)
        live = ""
        # As on a terminal: a start and progress are redrawn, and what has ended stays.
        if isinstance(event, Started | Progress):
            live = self.live(event)
        elif leaves_a_line(event):
            self.kept.append(str(event))
        self.draw(live)
        self.stages.end(event)

    def live(self, event: Started | Progress) -> str:
        """The line that is redrawn: the stage, a bar, and what is known of it."""
        stage = escape(self.stages.innermost or "")
        # Of a start there is no more to say.
        if isinstance(event, Started):
            return f"<b>{stage}</b>"
        share = event.step / max(1, event.steps)
        return f"<b>{stage}</b> {bar(share)} {escape(str(event))}"

    def draw(self, live: str) -> None:
        """Replace the output; one display holds all of it, so that a cell's output stays short."""
        lines = "\n".join(self.kept)
        style = "margin:0;white-space:pre-wrap"
        content = {
            "text/html": f'<pre style="{style}">{escape(lines)}</pre>{live}',
            # What is kept of a notebook that is read without its pictures.
            "text/plain": lines,
        }
        if self.is_shown:
            self.handle.update(content, raw=True)
        else:
            self.handle.display(content, raw=True)
        self.is_shown = True
