"""Content-addressed stages: what was computed once is found again, and a kill loses at most the minutes since the last checkpoint.

A stage is a folder `<cache>/<name>-<key>`; its key is the SHA-256 of everything the result depends on. A stage under work is the
same name with `.partial`, which survives a kill so that the stage can go on from its checkpoints; the finished folder appears by
one rename, and only then its checkpoints go. Files are written to a temporary name, fsynced and renamed. A lock per entry keeps two
processes apart; the kernel frees it when a process dies.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from limbeck.machine import peak_mb, release_freed_memory
from limbeck.progress import Ended, Note, Started, Tell, silent

CACHE = "LIMBECK_CACHE"


class Interrupted(Exception):
    """The run was asked to stop and has written its checkpoint; the same command goes on from there."""


def digest(value: Any) -> str:
    """SHA-256 (hex) of plain data, written as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 over names and bytes of every file below `folder`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest({str(path.relative_to(folder)): file_digest(path) for path in files})


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a kill, sees the old content or the new, never a part."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:  # of a full disk the system does not say which file
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def reserve(path: Path) -> None:
    """Claim the disk space of a sparse file now: where a memory map meets a full disk, the process is killed."""
    with open(path, "r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None


def write_json(path: Path, value: Any) -> None:
    """Plain data as indented JSON, atomically."""
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The plain data of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def sync(path: Path) -> None:
    """Make a file's bytes, or the renames in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
            raise Held(f"{path.parent}: another run is writing to this folder. Wait for it, or choose another --out") from None
        yield


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


@dataclass
class Store:
    """The stages below one cache folder, and what this run did with them."""

    folder: Path = field(default_factory=lambda: Path(os.environ.get(CACHE) or "~/.cache/limbeck").expanduser())
    tell: Tell = silent
    records: list[dict[str, Any]] = field(default_factory=list)
    told: set[str] = field(default_factory=set)

    def tell_once(self, line: str) -> None:
        """Tell what several arms would say alike."""
        if line not in self.told:
            self.told.add(line)
            self.tell(Note(line))

    def stage(self, name: str, inputs: dict[str, Any], build: Callable[[Path], None], *, label: str = "", wait: bool = True) -> Path:
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
            shutil.rmtree(entry / "checkpoint", ignore_errors=True)  # when reused too: a kill may have come just before this line
        seconds = round(time.perf_counter() - started, 3)
        known = any(record["entry"] == entry.name for record in self.records)
        peak_rss_mb = round(peak_mb(), 1)
        self.records.append({"name": title, "seconds": seconds, "peak_rss_mb": peak_rss_mb, "reused": reused, "entry": entry.name})
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
