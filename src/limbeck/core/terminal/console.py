"""Where events are shown: a live line on a terminal, JSON lines elsewhere."""

import codecs
import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from limbeck.core.events import NAMES, Ended, EpochEnded, Event, Progress, Reporter, Started

if TYPE_CHECKING:
    from rich.console import Console

SECONDS_BETWEEN_LINES = 10.0  # between two progress events of a log, which is kept
SHOWN_EPOCHS = 8  # about so many epochs, at most, leave a line on a terminal


class OpenStages:
    """The stages under way, the innermost last: one may need another that is computed in it."""

    def __init__(self) -> None:
        self.names: list[str] = []

    @property
    def innermost(self) -> str | None:
        """The stage that computes now; None between stages."""
        return self.names[-1] if self.names else None

    def begin(self, event: Event) -> None:
        """Note a start, before the event is shown."""
        if isinstance(event, Started):
            self.names.append(event.stage)

    def end(self, event: Event) -> None:
        """Note an end, after the event is shown; a stage that was reused never began."""
        if isinstance(event, Ended) and event.stage == self.innermost:
            self.names.pop()


class JsonLines:
    """Writes one JSON object an event.

    It holds the event's name (`event`), the `stage` that is under way, the seconds since the
    beginning (`at_s`), and the event's own fields.
    """

    def __init__(self, file: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.file = file
        self.clock = clock
        self.began = clock()
        self.last_progress = self.began
        self.stages = OpenStages()
        # A file that cannot hold every character would write escapes that are no JSON.
        self.is_ascii = codecs.lookup(file.encoding or "utf-8").name != "utf-8"

    def __call__(self, event: Event) -> None:
        now = self.clock()
        if isinstance(event, Progress) and now - self.last_progress < SECONDS_BETWEEN_LINES:
            return
        self.stages.begin(event)
        # A start counts too: the first progress of a stage says little more.
        if isinstance(event, Started | Progress):
            self.last_progress = now
        content = {
            "event": NAMES[type(event)],
            "stage": self.stages.innermost,
            "at_s": round(now - self.began, 1),
            **asdict(event),
        }
        self.file.write(json.dumps(content, ensure_ascii=self.is_ascii) + "\n")
        self.file.flush()  # a log is read while the run goes on
        self.stages.end(event)


class LiveLine:
    """Shows one line that is redrawn while a stage runs, and above it the lines that stay."""

    def __init__(self, console: "Console") -> None:
        from rich.live import Live

        self.console = console
        # Drawn when an event comes, not by a thread of its own: training needs the cores.
        self.live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        self.is_live = not console.is_dumb_terminal
        self.stages = OpenStages()

    def __call__(self, event: Event) -> None:
        self.stages.begin(event)
        if self.is_live and isinstance(event, Started | Progress):
            # The stage's name stands in the line already; of a start there is no more to say.
            rest = "" if isinstance(event, Started) else str(event)
            self.show(self.stages.innermost or "", rest)
        elif leaves_a_line(event):
            self.keep(event)
        self.stages.end(event)

    def show(self, stage: str, rest: str) -> None:
        """Redraw the live line."""
        from rich.text import Text

        line = Text.assemble((stage, "bold cyan"), rest, no_wrap=True, overflow="ellipsis")
        self.live.update(line, refresh=True)

    def keep(self, event: Event) -> None:
        """Write a line above the live one; the end of a stage empties that one."""
        from rich.text import Text

        is_end = isinstance(event, Ended)
        if is_end:
            self.show("", "")
        line = Text(str(event), style="" if is_end else "dim")
        # Long lines are left to the terminal, which breaks them anew when it is resized.
        self.console.print(line, soft_wrap=True)

    def __enter__(self) -> "LiveLine":
        if self.is_live:
            self.live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.live.stop()


def leaves_a_line(event: Event) -> bool:
    """Whether an event leaves a line on a terminal: of many epochs only some, the last always."""
    if isinstance(event, EpochEnded):
        every = math.ceil(event.epochs / SHOWN_EPOCHS)
        is_shown = (event.epoch - 1) % every == 0
        return is_shown or event.epoch == event.epochs
    return not isinstance(event, Progress)


@contextlib.contextmanager
def on_stderr() -> Iterator[Reporter]:
    """Where a command shows events.

    A live line where stderr is a terminal (plain lines on a dumb one), JSON lines where it is not.
    NO_COLOR is respected (by rich).
    """
    if not sys.stderr.isatty():
        yield JsonLines(sys.stderr)
        return
    from rich.console import Console

    with LiveLine(Console(stderr=True)) as line:
        yield line
