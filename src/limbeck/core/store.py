"""Content-addressed stages: what was computed once is found again, and a kill loses at most the minutes since the last checkpoint.

A stage is a folder `<cache>/<name>-<key>`; its key is the SHA-256 of everything the result depends on. A stage under work is the
same name with `.partial`, which survives a kill so that the stage can go on from its checkpoints; the finished folder appears by
one rename, and only then its checkpoints go. Files are written to a temporary name, fsynced and renamed. A lock per entry keeps two
processes apart; the kernel frees it when a process dies.
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limbeck.core.events import Ended, Note, Started, Tell, silent
from limbeck.core.files import digest, sync, write_json
from limbeck.core.memory import peak_mb, release_freed_memory

CACHE = "LIMBECK_CACHE"


class Held(ValueError):
    """Another process has what is asked for."""


@contextlib.contextmanager
def lock(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`. Raises Held when another process holds it and `wait` is False."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Held(
                f"{path.parent}: another run is writing to this folder. Wait for it, or choose another --out"
            ) from None
        yield


@dataclass
class Store:
    """The stages below one cache folder, and what this run did with them."""

    folder: Path = field(
        default_factory=lambda: Path(os.environ.get(CACHE) or "~/.cache/limbeck").expanduser()
    )
    tell: Tell = silent
    records: list[dict[str, Any]] = field(default_factory=list)
    told: set[str] = field(default_factory=set)

    def tell_once(self, line: str) -> None:
        """Tell what several arms would say alike."""
        if line not in self.told:
            self.told.add(line)
            self.tell(Note(line))

    def stage(
        self,
        name: str,
        inputs: dict[str, Any],
        build: Callable[[Path], None],
        *,
        label: str = "",
        wait: bool = True,
    ) -> Path:
        """The folder of the stage `name` for `inputs`; `build(folder)` fills it when it is not there yet. Raises Held where another process is at it
        and `wait` is False.

        `build` is called with the same partly filled folder after a kill, and must leave the same bytes as an uninterrupted call.
        """
        entry = self.folder / f"{name}-{digest(inputs)[:24]}"
        started, title = time.perf_counter(), label or name
        with lock(self.folder / "locks" / entry.name, wait=wait):
            reused = entry.is_dir()
            if not reused:
                self.tell(Started(title))
                self._fill(entry, inputs, build)
                release_freed_memory()
            shutil.rmtree(
                entry / "checkpoint", ignore_errors=True
            )  # when reused too: a kill may have come just before this line
        seconds = round(time.perf_counter() - started, 3)
        known = any(record["entry"] == entry.name for record in self.records)
        peak_rss_mb = round(peak_mb(), 1)
        self.records.append(
            {
                "name": title,
                "seconds": seconds,
                "peak_rss_mb": peak_rss_mb,
                "reused": reused,
                "entry": entry.name,
            }
        )
        if not known:
            self.tell(Ended(title, seconds, reused))
        return entry

    def _fill(self, entry: Path, inputs: dict[str, Any], build: Callable[[Path], None]) -> None:
        partial = entry.with_name(entry.name + ".partial")
        partial.mkdir(parents=True, exist_ok=True)
        for leftover in partial.rglob("*.tmp"):
            leftover.unlink()
        build(partial)
        write_json(partial / "stage.json", inputs)
        for path in [partial, *partial.rglob("*")]:
            sync(path)
        os.rename(partial, entry)
        sync(entry.parent)
