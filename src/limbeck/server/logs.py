"""The server's log: a line of JSON for each event, on standard error, for a collector to read."""

import contextlib
import json
import os
import sys
import time
from typing import Any

INFO, WARNING, ERROR = "info", "warning", "error"


def log(event: str, level: str = INFO, **fields: Any) -> None:
    """Write an event. Its time is in seconds since 1970, with the process that saw it."""
    # The process tells workers apart, and the lives of one.
    line = {"time": round(time.time(), 3), "level": level, "event": event, "pid": os.getpid()}
    # In one call: lines of several processes do not mix.
    text = json.dumps(line | fields, ensure_ascii=True, default=str)
    # A log that cannot be written, on a full disk or to a reader that is gone, stops nobody.
    with contextlib.suppress(OSError):
        os.write(sys.stderr.fileno(), f"{text}\n".encode())
