"""Opens an artifact in a process of its own, before a server takes it up; prints its version.

    python -m limbeck.server.processes.verify ARTIFACT FOLDER_OF_SERVER SECONDS [RUNTIME]

Exit status 2, with the reason on standard error, where it is refused; 3 where there is no room for
its files, or the server's folder is gone. It ends by itself when its time is up, and when who
started it is gone: a graph may be made so that it never answers.
"""

import contextlib
import os
import sys
import threading
import time
from pathlib import Path

from limbeck.artifact.load import load
from limbeck.core.files import is_disk_full
from limbeck.server.plans import Shelf
from limbeck.server.processes.task import BROKEN, MISTAKE

LOOK_SECONDS = 0.2


def main(folder: str, own: str, runtime: str | None = None) -> int:
    """Take up an artifact and open it; the exit status."""
    if not Path(own).is_dir():
        print(f"{own}: the server's folder is gone. Start it anew", file=sys.stderr)
        return BROKEN
    shelf = Shelf(Path(own))
    try:
        version = shelf.take_up(Path(folder))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        is_full = isinstance(error, OSError) and is_disk_full(error)
        return BROKEN if is_full else MISTAKE
    try:
        load(shelf.path(version), runtime=runtime)
    except (ValueError, OSError) as error:
        shelf.drop(version)
        print(error, file=sys.stderr)
        return MISTAKE
    print(version)
    return 0


def main_in_time(folder: str, own: str, seconds: str, runtime: str | None = None) -> int:
    """As `main`, in a process that ends when its time is up."""
    # Of the process that called it, which may end meanwhile.
    watching = (Path(own), float(seconds), os.getppid())
    # It dies with the process, whatever the rest of it does.
    threading.Thread(target=end_in_time, args=watching, daemon=True).start()
    return main(folder, own, runtime)


def end_in_time(own: Path, seconds: float, parent: int) -> None:
    """End this process once its time is up, or its parent is gone."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    # The server's folder may be gone, as may who reads the reason.
    with contextlib.suppress(OSError):
        Shelf(own).remove_unfinished()
        why = f"it was not open within {seconds:g} s (verify_seconds)"
        print(why, file=sys.stderr, flush=True)
    # Not by an exception, which the other thread would have to hear.
    os._exit(MISTAKE)


if __name__ == "__main__":
    sys.exit(main_in_time(*sys.argv[1:]))
