"""Content-addressed stages: what was computed once is found again; a kill loses minutes at most.

A stage is a folder `<cache>/<name>-<key>`; its key is the SHA-256 of everything that the result
depends on. While a stage is computed its folder ends in `.partial`. That folder survives a kill, so
that the stage can go on from its checkpoints. The finished folder appears by one rename, and only
then are its checkpoints deleted. Files are written to a temporary name, synced and renamed.

A finished entry is opened only if all its files are as they were written (`entries`): one that is
not is told, and made anew. A lock per entry keeps two processes apart; the system frees it when a
process dies. Whoever uses the cache holds a lock of its own too, so that nothing is pruned that it
has opened. A cache that may not be written is read as it is.
"""

import contextlib
import errno
import os
import shutil
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from limbeck.core.cache import entries, spent
from limbeck.core.events import Ended, Note, Reporter, Started, silent
from limbeck.core.files import digest, disk_named, same_folder, sync, write_json
from limbeck.core.system.memory import peak_mb, release_freed_memory

CACHE = "LIMBECK_CACHE"  # the environment variable that names the cache folder
STAGE_FILE = "stage.json"  # of every finished stage: its inputs, for who wants to know what it was
DEFAULT_CACHE = "~/.cache/limbeck"

# Hex digits, 96 bits: that any two of a billion stages share a key has a chance below 1e-11.
KEY_LENGTH = 24

# Below the cache folder: a lock for each entry, and among them one for each process that reads.
LOCKS = "locks"
USERS = "users"

# What a system answers where no lock can be made, and what is there may be read all the same.
NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT)

# How often a lock that another process holds is tried again.
SECONDS_BETWEEN_TRIES = 0.1


class Held(ValueError):
    """Another process holds the lock that is asked for."""


@contextlib.contextmanager
def lock(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold an exclusive lock on the file `path` (which stays, empty) in the `with` block.

    Raises Held when another process holds it and `wait` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    guard = filelock.FileLock(path)
    try:
        guard.acquire(poll_interval=SECONDS_BETWEEN_TRIES, blocking=wait)
    except filelock.Timeout:
        raise Held(
            f"{path.parent}: another run is writing to this folder. Wait for it, "
            "or choose another --out"
        ) from None
    try:
        yield
    finally:
        guard.release()


def default_folder() -> Path:
    """The cache folder: the one that LIMBECK_CACHE names, else one in the home folder."""
    return Path(os.environ.get(CACHE) or DEFAULT_CACHE).expanduser()


def allow(entry_name: str) -> None:
    """Let every stage be built."""


@dataclass
class Store:
    """The stages below one cache folder, and what this run did with them.

    `may_build`: is asked, with the name of its entry, before a stage is built; it raises where the
    stage must not be.
    `records`: one for each stage that was asked for, in order, as stages.json shows them.
    """

    folder: Path = field(default_factory=default_folder)
    tell: Reporter = silent
    may_build: Callable[[str], None] = allow
    records: list[dict[str, Any]] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    # Of each entry that was checked: what its files were like then, and what was wrong with them.
    checked: dict[Path, tuple[entries.Signature, str | None]] = field(default_factory=dict)
    is_announced: bool = False

    def tell_once(self, line: str) -> None:
        """Tell a line that several arms would repeat only once."""
        if line not in self.told:
            self.told.add(line)
            self.tell(Note(line))

    def entry(self, name: str, inputs: dict[str, Any]) -> Path:
        """The folder of the stage `name` for `inputs`, whether it is there or not."""
        return self.folder / f"{name}-{digest(inputs)[:KEY_LENGTH]}"

    def stage(
        self,
        name: str,
        inputs: dict[str, Any],
        build: Callable[[Path], None],
        *,
        label: str = "",
        wait: bool = True,
    ) -> Path:
        """The folder of the stage `name` for `inputs`; `build(folder)` fills it where it is new.

        After a kill `build` is called with the same partly filled folder, and must leave the same
        bytes as an uninterrupted call. `inputs`: plain data, everything that the result depends on.
        `label`: what the stage is called in events and records. Raises Held where another process
        computes this stage and `wait` is False.
        """
        entry = self.entry(name, inputs)
        title = label or name
        started = time.perf_counter()
        self._announce()
        with self._locked(entry, wait=wait):
            is_reused = self._is_sound(entry)
            if not is_reused:
                self.may_build(entry.name)
                entries.discard(entry)
                self.tell(Started(title))
                started -= self._fill(entry, inputs, build)
                release_freed_memory()  # the next stage has other shapes
            # When reused too: a kill may have come between the rename and this line.
            shutil.rmtree(entry / entries.CHECKPOINT, ignore_errors=True)
        self._record(title, entry, time.perf_counter() - started, is_reused)
        return entry

    def has(self, name: str, inputs: dict[str, Any]) -> bool:
        """Whether the stage `name` for `inputs` is there, and as it was written."""
        entry = self.entry(name, inputs)
        return entry.is_dir() and self._fault(entry) is None

    def _announce(self) -> None:
        """Hold a lock for as long as this store lives: a run reads again what it has opened."""
        if self.is_announced:
            return
        self.is_announced = True
        # The name says since when: the file's own time changes with every look at the lock.
        name = f"{time.time_ns()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        path = self.folder / LOCKS / USERS / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            guard = filelock.FileLock(path)
            guard.acquire(blocking=False)
        except (OSError, filelock.Timeout):
            # Where nothing can be written, nothing is pruned either.
            return
        weakref.finalize(self, _leave, guard, path)

    @contextlib.contextmanager
    def _locked(self, entry: Path, *, wait: bool) -> Iterator[None]:
        """Hold an entry's lock; go on without one where it is there and no lock can be made."""
        with contextlib.ExitStack() as stack:
            try:
                # The lock's file stands outside of the entry, which is renamed while it is held.
                stack.enter_context(lock(self.folder / LOCKS / entry.name, wait=wait))
            except OSError as error:
                if error.errno not in NOT_WRITABLE or not entry.is_dir():
                    raise
            yield

    def _is_sound(self, entry: Path) -> bool:
        """Whether a finished entry is there and may be used; it is told where it may not."""
        if not entry.is_dir():
            return False
        # First, so that nobody prunes it from now on.
        entries.touch(entry)
        problem = self._fault(entry)
        if problem is None:
            return True
        self.tell(Note(f"warning: cache: {entry.name}: {problem}. It is not used, but made anew"))
        return False

    def _fault(self, entry: Path) -> str | None:
        """What is wrong with an entry; its files are read once, until one of them changes."""
        now = entries.signature(entry)
        known = self.checked.get(entry)
        if known is None or known[0] != now:
            self.checked[entry] = known = (now, entries.fault(entry))
        return known[1]

    def _record(self, title: str, entry: Path, seconds: float, is_reused: bool) -> None:
        """Note what was done, and tell it unless this run has asked for the stage before."""
        is_known = any(record["entry"] == entry.name for record in self.records)
        seconds = round(seconds, 3)
        record = {
            "name": title,
            "seconds": seconds,
            "peak_rss_mb": round(peak_mb(), 1),
            "reused": is_reused,
            "entry": entry.name,
        }
        self.records.append(record)
        if not is_known:
            self.tell(Ended(title, seconds, is_reused))

    def _fill(self, entry: Path, inputs: dict[str, Any], build: Callable[[Path], None]) -> float:
        """Build an entry in its `.partial` folder, and give it its name when it is durable; the
        seconds that earlier processes were at it."""
        partial = entry.with_name(entry.name + ".partial")
        partial.mkdir(parents=True, exist_ok=True)
        # Of a write that a kill interrupted; a folder holds others.
        for leftover in list(partial.rglob("*.tmp")):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)
        earlier = spent.go_on(partial)
        with disk_named(partial), same_folder():
            build(partial)
            spent.forget(partial)
            write_json(partial / STAGE_FILE, inputs)
            entries.seal(partial, entry.name)
        # What the digests say must be on the disk before the name is.
        for path in [partial, *partial.rglob("*")]:
            sync(path)
        os.rename(partial, entry)
        sync(entry.parent)
        return earlier


def copy_entry(source: Path, folder: Path) -> None:
    """Fill the folder of a stage with what another one left."""
    # All but what says whose entry it is.
    others = shutil.ignore_patterns(STAGE_FILE, entries.FILES)
    shutil.copytree(source, folder, ignore=others, dirs_exist_ok=True)


def _leave(guard: filelock.BaseFileLock, path: Path) -> None:
    """Say that a process uses the cache no more."""
    guard.release()
    with contextlib.suppress(OSError):
        path.unlink()
