"""Content-addressed stages: what was computed once is found again; a kill loses minutes at most.

A stage is a folder `<cache>/<name>-<key>`; its key is the SHA-256 of everything that the result
depends on. While a stage is computed its folder ends in `.partial`. That folder survives a kill, so
that the stage can go on from its checkpoints. The finished folder appears by one rename, and only
then are its checkpoints deleted. Files are written to a temporary name, synced and renamed.

A lock per entry keeps two processes apart; the system frees it when a process dies.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from limbeck.core.events import Ended, Note, Reporter, Started, silent
from limbeck.core.files import digest, sync, write_json
from limbeck.core.memory import peak_mb, release_freed_memory

CACHE = "LIMBECK_CACHE"  # the environment variable that names the cache folder
STAGE_FILE = "stage.json"  # of every finished stage: its inputs, for who wants to know what it was
DEFAULT_CACHE = "~/.cache/limbeck"

# Hex digits, 96 bits: that any two of a billion stages share a key has a chance below 1e-11.
KEY_LENGTH = 24

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
        # The lock's file stands outside of the entry, which is renamed while it is held.
        with lock(self.folder / "locks" / entry.name, wait=wait):
            is_reused = entry.is_dir()
            if not is_reused:
                self.may_build(entry.name)
                self.tell(Started(title))
                self._fill(entry, inputs, build)
                release_freed_memory()  # the next stage has other shapes
            # When reused too: a kill may have come between the rename and this line.
            shutil.rmtree(entry / "checkpoint", ignore_errors=True)
        self._record(title, entry, time.perf_counter() - started, is_reused)
        return entry

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

    def _fill(self, entry: Path, inputs: dict[str, Any], build: Callable[[Path], None]) -> None:
        """Build an entry in its `.partial` folder, and give it its name when it is durable."""
        partial = entry.with_name(entry.name + ".partial")
        partial.mkdir(parents=True, exist_ok=True)
        for leftover in partial.rglob("*.tmp"):  # of a write that a kill interrupted
            leftover.unlink()
        build(partial)
        write_json(partial / STAGE_FILE, inputs)
        # A finished name is trusted without a look: all below must be on the disk before it.
        for path in [partial, *partial.rglob("*")]:
            sync(path)
        os.rename(partial, entry)
        sync(entry.parent)
