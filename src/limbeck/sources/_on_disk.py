"""Dialogues and plain texts that lie in a file and are read when they are asked for: what a million
of them take of memory is sixteen bytes each, and not the Python objects of their texts (1.4 kB).

Rows are written as JSON, one behind the other, into a file without a name beside the cache, which
is gone with the process. The user's own file is read once, from its beginning to its end: a table
of any format, whose rows may not even stand in it as bytes (Parquet), and one that is changed
meanwhile changes nothing. Few rows stay lists (`RowCollector`).
"""

import json
import sys
import tempfile
import threading
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, overload

import numpy as np
from numpy.typing import NDArray

from limbeck.core.cache.store import default_folder
from limbeck.sources import Row

# From so many rows of a split on they lie on disk: as lists they would take 30 MB.
HELD_ROWS = 20_000
# Rows that are read together where all are read.
READ_TOGETHER = 1000

# (N, 2) where each row begins in the file, and its bytes.
Spans = NDArray[np.int64]


class RowFile:
    """A file that rows are added to, and read from at any place."""

    def __init__(self) -> None:
        folder = default_folder()
        folder.mkdir(parents=True, exist_ok=True)
        self.file: BinaryIO = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        # As long as some rows of it are asked for, and no longer.
        weakref.finalize(self, self.file.close)
        self.size = 0
        self.lock = threading.Lock()

    def add(self, rows: Iterable[Row]) -> "RowsOnDisk":
        """Write rows behind those that are there."""
        spans = array("q")
        for row in rows:
            # Half of a character is refused by the sources, and would be kept here.
            content = json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass")
            with self.lock:
                self.file.seek(self.size)
                self.file.write(content)
                spans.extend((self.size, len(content)))
                self.size += len(content)
        self.file.flush()
        return RowsOnDisk(self, np.frombuffer(spans, np.int64).reshape(-1, 2))

    def read(self, start: int, size: int) -> bytes:
        """Some bytes of it."""
        if sys.platform != "win32":
            import os

            # Two threads, or a process and its child, may read at a time.
            return os.pread(self.file.fileno(), size, start)
        with self.lock:
            self.file.seek(start)
            return self.file.read(size)


class RowsOnDisk(Sequence[Row]):
    """Some rows of a file, in an order of their own. A slice is one too, and reads nothing."""

    def __init__(self, file: RowFile, spans: Spans) -> None:
        self.file = file
        self.spans = spans

    def __len__(self) -> int:
        return len(self.spans)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> "RowsOnDisk": ...
    def __getitem__(self, index: int | slice) -> "Row | RowsOnDisk":
        if isinstance(index, slice):
            return RowsOnDisk(self.file, self.spans[index])
        start, size = self.spans[index].tolist()
        return _row(self.file.read(start, size))

    def __iter__(self) -> Iterator[Row]:
        for first in range(0, len(self), READ_TOGETHER):
            yield from self._read(self.spans[first : first + READ_TOGETHER])

    def _read(self, spans: Spans) -> Iterator[Row]:
        """Some rows; those that stand one behind the other are read at once."""
        starts, sizes = spans.T
        are_neighbours = np.array_equal(starts[1:], starts[:-1] + sizes[:-1])
        if not are_neighbours:
            for start, size in spans.tolist():
                yield _row(self.file.read(start, size))
            return
        first = int(starts[0])
        content = self.file.read(first, int(sizes.sum()))
        for start, size in spans.tolist():
            yield _row(content[start - first : start - first + size])

    def with_more(self, rows: Sequence[Row]) -> "RowsOnDisk":
        """These rows, and others behind them."""
        is_same = isinstance(rows, RowsOnDisk) and rows.file is self.file
        more = rows if is_same else self.file.add(rows)
        assert isinstance(more, RowsOnDisk)
        return RowsOnDisk(self.file, np.concatenate([self.spans, more.spans]))


def _row(content: bytes) -> Row:
    row: Row = json.loads(content.decode("utf-8", "surrogatepass"))
    return row


class RowCollector:
    """Takes the rows of a split, one by one, and moves them to disk once they are many: dialogues,
    and texts without anything beside them.

    Rows with labels and tags stay lists: their labels are objects that rows share.
    """

    def __init__(self) -> None:
        self.held: list[Row] = []
        self.written: RowsOnDisk | None = None

    def append(self, row: Row) -> None:
        """Take a row."""
        self.held.append(row)
        if len(self.held) >= HELD_ROWS and ("messages" in row or row.keys() == {"text"}):
            self._write()

    def _write(self) -> None:
        if self.written is None:
            self.written = RowFile().add(self.held)
        else:
            self.written = self.written.with_more(self.held)
        self.held = []

    def rows(self) -> Sequence[Row]:
        """All rows, in their order."""
        if self.written is None:
            return self.held
        if self.held:
            self._write()
        return self.written


def joined(first: Sequence[Row], second: Sequence[Row]) -> Sequence[Row]:
    """The rows of both, on disk where one of them is there."""
    if isinstance(first, RowsOnDisk):
        return first.with_more(second) if second else first
    if isinstance(second, RowsOnDisk):
        # The file's own order does not matter: spans say where each row stands.
        before = second.file.add(first)
        return before.with_more(second)
    return [*first, *second]


def picked(rows: Sequence[Row], numbers: Sequence[int] | NDArray[np.int64]) -> Sequence[Row]:
    """Some of the rows, by their numbers."""
    if isinstance(rows, RowsOnDisk):
        return RowsOnDisk(rows.file, rows.spans[np.asarray(numbers, np.int64)])
    return [rows[number] for number in numbers]


def changed(rows: Sequence[Row], change: Callable[[Row], Row]) -> Sequence[Row]:
    """Other rows in place of each."""
    other = map(change, rows)
    return RowFile().add(other) if isinstance(rows, RowsOnDisk) else list(other)
