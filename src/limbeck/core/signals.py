"""SIGTERM and Ctrl-C, put off until a loop can write its checkpoint."""

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType


@dataclass
class Stop:
    """Whether a signal has asked the process to stop."""

    requested: bool = False


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Stop]:
    """Inside, SIGTERM and Ctrl-C only set `requested`, so that a loop can write its checkpoint between two steps.

    Raises KeyboardInterrupt at the end for a request that was not answered with an exception inside.
    """
    stop = Stop()

    def note(signum: int, frame: FrameType | None) -> None:
        stop.requested = True

    previous = {signum: signal.signal(signum, note) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
    if stop.requested:
        raise KeyboardInterrupt
