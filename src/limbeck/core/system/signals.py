"""SIGTERM and Ctrl-C, put off until a loop can write its checkpoint."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType


@dataclass
class Stop:
    """Whether a signal has asked the process to stop."""

    requested: bool = False


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Stop]:
    """In the `with` block SIGTERM and Ctrl-C only set `requested`.

    So a loop can write its checkpoint between two steps, and then raise `Interrupted`. Raises
    KeyboardInterrupt at the end of the block where a request was not answered with an exception.

    Python lets the main thread alone handle signals. In any other, such as a web server's, none
    reaches the loop: what they do is for the main thread to say, and nothing is put off.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(signum: int, frame: FrameType | None) -> None:
        stop.requested = True

    # Windows has both names, but only ever sends SIGINT.
    signums = (signal.SIGTERM, signal.SIGINT)
    previous = {signum: signal.signal(signum, note) for signum in signums}
    try:
        yield stop
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
    # A request that came after the loop's last look must not be lost.
    if stop.requested:
        raise KeyboardInterrupt
