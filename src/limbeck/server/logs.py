"""The server's log: a line of JSON for each event, on standard error, for a collector to read."""

import contextlib
import json
import logging
import os
import sys
import time
import warnings
from functools import lru_cache
from typing import Any

REMEMBERED = 256  # warnings that are not told again
INFO, WARNING, ERROR = "info", "warning", "error"


class Lines(logging.Handler):
    """Writes what libraries log as lines of JSON, too."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        level = record.levelname.lower()
        log("library", level, name=record.name, why=record.getMessage()[:1000])


def take_in_libraries() -> None:
    """Have what libraries log in this process written as the rest is."""
    logging.basicConfig(handlers=[Lines()], level=logging.WARNING, force=True)
    # Of a form that is none its sender is told, and anybody can send many.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    # Else two lines of text, with a path of the source.
    warnings.showwarning = log_warning


def log_warning(message: Warning | str, *where: Any, **more: Any) -> None:
    """Write a warning of Python, such as of an image's pixels, once; by `warnings.showwarning`."""
    log_once(str(message)[:1000])


# Python's own memory of what was told is lost with every `warnings.catch_warnings`.
@lru_cache(REMEMBERED)
def log_once(why: str) -> None:
    """Write a warning that this process has not written yet."""
    log("warning", WARNING, why=why)


def log(event: str, level: str = INFO, **fields: Any) -> None:
    """Write an event. Its time is in seconds since 1970, with the process that saw it."""
    # The process tells workers apart, and the lives of one.
    line = {"time": round(time.time(), 3), "level": level, "event": event, "pid": os.getpid()}
    # In one call: lines of several processes do not mix.
    text = json.dumps(line | fields, ensure_ascii=True, default=str)
    # A log that cannot be written, on a full disk or to a reader that is gone, stops nobody.
    with contextlib.suppress(OSError):
        os.write(sys.stderr.fileno(), f"{text}\n".encode())
