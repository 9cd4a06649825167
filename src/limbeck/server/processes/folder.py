"""The folder of a running server, for its plan, the versions' files and what workers share.

It is locked (flock) as long as a process of the server lives. systemd-tmpfiles, which removes what
is old from /tmp, leaves out what is locked so; and a lock that nobody holds any more tells the next
server that the one before was killed and could not remove it.

Where the system has no such lock (no module fcntl), a server of one worker does without: then
nothing is removed but its own folder at its end.
"""

import contextlib
import importlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PREFIX = "limbeck-server-"
# A folder that was made so lately may be about to be locked.
YOUNG_SECONDS = 60.0


def locks() -> Any:
    """The module that locks files; None where the system has none."""
    try:
        return importlib.import_module("fcntl")
    except ImportError:
        return None


def require_locks(workers: int) -> None:
    """Raise ValueError for several workers on a system whose files cannot be locked."""
    if workers > 1 and locks() is None:
        raise ValueError(
            f"--workers {workers}: several workers share a folder that is locked as long as one of "
            "them lives, and this system has no such lock (Python's module fcntl). Serve with one "
            "worker: --workers 1"
        )


@contextlib.contextmanager
def own_folder() -> Iterator[tuple[Path, int | None]]:
    """(a new folder, the file descriptor that holds its lock); both are gone afterwards. No
    descriptor, None, where the system has no such lock.

    A process that is handed the descriptor holds the lock, too.
    """
    fcntl = locks()
    if fcntl is None:
        with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
            yield Path(name), None
        return
    remove_abandoned(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        descriptor = os.open(name, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield Path(name), descriptor
        finally:
            os.close(descriptor)


def remove_abandoned(parent: Path) -> None:
    """Remove the folders of this user's servers that were killed."""
    for path in parent.glob(f"{PREFIX}*"):
        # Another server that starts now may be removing it, too.
        with contextlib.suppress(OSError):
            state = path.lstat()
            is_old = state.st_mtime < time.time() - YOUNG_SECONDS
            # Never through a link, which anybody may put into /tmp.
            if state.st_uid == os.getuid() and path.is_dir() and not path.is_symlink() and is_old:
                remove_unlocked(path)


def remove_unlocked(path: Path) -> None:
    """Remove a folder unless a process holds its lock. Raises OSError where one does."""
    fcntl = locks()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(descriptor)
