"""Where events are shown: a live line on a terminal, JSON lines elsewhere."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console
from limbeck.core.events import NAMES, Ended, EpochEnded, Event, Progress, Started, Tell

SECONDS_BETWEEN_LINES = 10.0  # between two progress events of a log
TOLD_EPOCHS = 8  # at most this many epochs, about, leave a line on a terminal


class OpenStages:
    """The stages under way, the innermost last: one may need another that is computed within it."""

    def __init__(self) -> None:
        self.names: list[str] = []

    @property
    def innermost(self) -> str | None:
        """None between stages."""
        return self.names[-1] if self.names else None

    def begin(self, event: Event) -> None:
        """Note a start."""
        if isinstance(event, Started):
            self.names.append(event.stage)

    def end(self, event: Event) -> None:
        """Note an end; a stage that was reused never began."""
        if isinstance(event, Ended) and event.stage == self.innermost:
            self.names.pop()


class JsonLines:
    """One JSON object an event: its name, the stage, the seconds since the beginning, and the event's fields."""

    def __init__(self, file: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.file, self.clock = file, clock
        self.began = self.last_progress = clock()
        self.stages = OpenStages()

    def __call__(self, event: Event) -> None:
        now = self.clock()
        if isinstance(event, Progress) and now - self.last_progress < SECONDS_BETWEEN_LINES:
            return
        self.stages.begin(event)
        if isinstance(event, Started | Progress):
            self.last_progress = now
        content = {
            "event": NAMES[type(event)],
            "stage": self.stages.innermost,
            "at_s": round(now - self.began, 1),
            **asdict(event),
        }
        self.file.write(json.dumps(content, ensure_ascii=False) + "\n")
        self.file.flush()
        self.stages.end(event)


class LiveLine:
    """One line that is redrawn while a stage runs, and above it the lines that stay."""

    def __init__(self, console: "Console") -> None:
        from rich.live import Live

        self.console = console
        self.live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        self.is_live = not console.is_dumb_terminal
        self.stages = OpenStages()

    def __call__(self, event: Event) -> None:
        self.stages.begin(event)
        if self.is_live and isinstance(event, Started | Progress):
            self.show(self.stages.innermost or "", "" if isinstance(event, Started) else str(event))
        elif stays(event):
            self.keep(event)
        self.stages.end(event)

    def show(self, stage: str, rest: str) -> None:
        """Redraw the line."""
        from rich.text import Text

        self.live.update(
            Text.assemble((stage, "bold cyan"), rest, no_wrap=True, overflow="ellipsis"),
            refresh=True,
        )

    def keep(self, event: Event) -> None:
        """Write a line above the live one; a stage that ended takes that one away."""
        from rich.text import Text

        if isinstance(event, Ended):
            self.show("", "")
        self.console.print(
            Text(str(event), style="" if isinstance(event, Ended) else "dim"), soft_wrap=True
        )

    def __enter__(self) -> "LiveLine":
        if self.is_live:
            self.live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.live.stop()


def stays(event: Event) -> bool:
    """Whether an event leaves a line on a terminal: of many epochs only some do."""
    if isinstance(event, EpochEnded):
        return (event.epoch - 1) % -(
            -event.epochs // TOLD_EPOCHS
        ) == 0 or event.epoch == event.epochs
    return not isinstance(event, Progress)


@contextlib.contextmanager
def on_stderr() -> Iterator[Tell]:
    """A live line where stderr is a terminal (plain lines on a dumb one), JSON lines where it is not. NO_COLOR is respected."""
    if not sys.stderr.isatty():
        yield JsonLines(sys.stderr)
        return
    from rich.console import Console

    with LiveLine(Console(stderr=True)) as line:
        yield line
