"""The cache folder as a whole: what lies in it, whether it is as it was written, what may go."""

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock

from limbeck.core.cache import entries
from limbeck.core.cache.store import LOCKS, STAGE_FILE, USERS, Held, lock

# An entry, one that is under way, one that is being removed.
ENTRY = re.compile(r"[a-z_]+-[0-9a-f]{24}(\.partial)?(\.broken)?")

WHOLE = "whole"
UNFINISHED = "unfinished"
EARLIER = "of an earlier version"

# Clocks of two machines that share a cache may differ by that much.
SLACK_SECONDS = 60.0


@dataclass(frozen=True)
class Found:
    """An entry of the cache.

    path: its folder.
    state: WHOLE (it has the digests of its files, which nobody has checked yet), UNFINISHED or
        EARLIER.
    num_bytes: of its files.
    last_used: when it was last written or used, in seconds since 1970.
    """

    path: Path
    state: str
    num_bytes: int
    last_used: float

    @property
    def name(self) -> str:
        """Its name in the cache."""
        return self.path.name

    @property
    def stage(self) -> str:
        """The stage that it is of."""
        return self.name.partition("-")[0]


def found_in(folder: Path) -> list[Found]:
    """Every entry of a cache, those that were not used for longest first; none without a cache."""
    if not folder.exists():
        return []
    found: list[Found] = []
    for path in folder.iterdir():
        # Nothing else is looked at, and least of all removed.
        if ENTRY.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            # A run that is under way may rename it meanwhile.
            with contextlib.suppress(FileNotFoundError):
                found.append(_look_at(path))
    return sorted(found, key=lambda entry: (entry.last_used, entry.name))


def _look_at(path: Path) -> Found:
    files = entries.files_of(path)
    state = WHOLE
    if path.suffix:
        state = UNFINISHED
    elif not (path / entries.FILES).exists() and (path / STAGE_FILE).exists():
        state = EARLIER
    num_bytes = sum(told.st_size for _, told in files)
    for item in (path / entries.CHECKPOINT).glob("*"):
        num_bytes += item.lstat().st_size
    return Found(path, state, num_bytes, entries.last_used(path))


def faults(folder: Path) -> Iterator[tuple[Found, str | None]]:
    """Each finished entry, and what is wrong with it; None where it is as it was written."""
    for entry in found_in(folder):
        if entry.state == WHOLE:
            problem = entries.fault(entry.path)
            # A run may have made it anew, or somebody removed it.
            if entry.path.exists():
                yield entry, problem


def doomed(
    found: list[Found],
    *,
    older_than_seconds: float | None,
    most_bytes: int | None,
) -> list[Found]:
    """What is to go: all that was not used for so long, then the oldest until the rest fits.

    Args:
        found: the entries, the oldest first.
        older_than_seconds: since their last use; None for no limit.
        most_bytes: that may be left; None for no limit.
    """
    now = time.time()
    left = sum(entry.num_bytes for entry in found)
    going: list[Found] = []
    for entry in found:
        is_old = older_than_seconds is not None and now - entry.last_used > older_than_seconds
        is_too_much = most_bytes is not None and left > most_bytes
        # What a kill left while it was removed serves nobody.
        if is_old or is_too_much or entry.path.suffix == entries.BROKEN:
            going.append(entry)
            left -= entry.num_bytes
    return going


def remove(folder: Path, going: list[Found]) -> list[Found]:
    """Remove entries, but those that a run is at, or may have opened; what was removed."""
    removed: list[Found] = []
    since = used_since(folder)
    for entry in going:
        base = entry.name.partition(".")[0]
        with contextlib.suppress(Held, FileNotFoundError), lock(folder / LOCKS / base, wait=False):
            # Looked at within the lock: a run may have begun to use it just now.
            if entries.last_used(entry.path) < since:
                entries.discard(entry.path)
                removed.append(entry)
    return removed


def used_since(folder: Path) -> float:
    """Since when some run has been using the cache, in seconds since 1970; infinite where none is.

    What it has opened, it has touched since.
    """
    since = float("inf")
    for path in (folder / LOCKS / USERS).glob("*-*-*"):
        started = path.name.partition("-")[0]
        if not started.isdecimal():
            continue
        guard = filelock.FileLock(path)
        try:
            guard.acquire(blocking=False)
        except filelock.Timeout:
            since = min(since, int(started) / 1e9 - SLACK_SECONDS)
        else:
            # Its process was killed.
            path.unlink(missing_ok=True)
            guard.release()
    return since
