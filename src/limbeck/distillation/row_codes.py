"""Whole numbers of many rows, each row a piece of one file that is read by itself.

A row holds columns (W, n) of unsigned numbers of some bytes, W units. Each column is written number
by number over all units, its low bytes first, and compressed by deflate (RFC 1951) with codes of
its own for each byte. Small numbers take few bits so: what an entropy coder gives, read by a
library of C. A checksum (Adler-32, RFC 1950) goes with each row.

| file | what |
|---|---|
| `<name>.bin` | the rows, in the order in which they were written |
| `<name>.spans.npy` | (N, 2) where row i begins and ends, in bytes |
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

# Distances of one alone: numbers of one kind repeat by chance, and to look for it costs time.
STRATEGY = zlib.Z_RLE
# Of zlib's own memory, the most: longer blocks need fewer tables.
MEMORY = 9
LEVEL = 6


@dataclass(frozen=True)
class Column:
    """`count`: how many numbers a unit has. `size`: their bytes, 1 to 4."""

    count: int
    size: int


def pack(
    columns: Sequence[Column],
    values: Sequence[np.ndarray],
) -> bytes:
    """One row's `values`, each (W, count of its column) of whole numbers from 0 on."""
    deflate = zlib.compressobj(
        level=LEVEL,
        memLevel=MEMORY,
        strategy=STRATEGY,
    )
    pieces: list[bytes] = []
    for column, numbers in zip(columns, values, strict=True):
        assert numbers.shape[1] == column.count
        assert numbers.size == 0 or 0 <= numbers.min() <= numbers.max() < 256**column.size
        for byte in range(column.size):
            plane = (numbers.T >> 8 * byte) & 0xFF
            pieces.append(deflate.compress(plane.astype(np.uint8).tobytes()))
            # A new block has tables of its own: the high bytes are alike, the low ones are not.
            pieces.append(deflate.flush(zlib.Z_BLOCK))
    pieces.append(deflate.flush())
    return b"".join(pieces)


def unpack(
    content: bytes,
    columns: Sequence[Column],
    num_units: int,
) -> list[np.ndarray]:
    """What `pack` was given, as int32. Raises ValueError for bytes that are no such row."""
    if num_units == 0:
        # Of a batch without a unit nothing was written.
        return [np.zeros((0, column.count), np.int32) for column in columns]
    expected = num_units * sum(column.count * column.size for column in columns)
    # One byte more than is right, so that a longer row is seen and a bomb does no harm.
    inflate = zlib.decompressobj()
    try:
        flat = inflate.decompress(content, expected + 1)
    except zlib.error as error:
        raise ValueError(f"damaged ({error})") from None
    if len(flat) != expected or not inflate.eof:
        raise ValueError(f"damaged ({len(flat)} bytes of {expected})")
    values: list[np.ndarray] = []
    planes = np.frombuffer(flat, np.uint8)
    for column in columns:
        shape = (column.size, column.count, num_units)
        end = column.size * column.count * num_units
        of_column = planes[:end].reshape(shape)
        planes = planes[end:]
        numbers = of_column[0].astype(np.int32)
        for byte in range(1, column.size):
            numbers |= of_column[byte].astype(np.int32) << 8 * byte
        values.append(numbers.T)
    return values


@dataclass
class RowWriter:
    """Appends rows to the files of `name` in `folder`; `num_rows` (N) of them are expected."""

    folder: Path
    name: str
    columns: Sequence[Column]
    num_rows: int

    def __post_init__(self) -> None:
        self.file: BinaryIO = open(self.folder / f"{self.name}.bin", "wb")  # noqa: SIM115
        self.spans = np.zeros((self.num_rows, 2), np.int64)

    def write(
        self,
        row: int,
        values: Sequence[np.ndarray],
    ) -> None:
        """The numbers of one row, in any order of rows."""
        start = self.file.tell()
        self.file.write(pack(self.columns, values))
        self.spans[row] = start, self.file.tell()

    def close(self) -> None:
        """Bring everything to the disk."""
        self.file.close()
        np.save(self.folder / f"{self.name}.spans.npy", self.spans)


@dataclass(frozen=True)
class RowReader:
    """What a `RowWriter` wrote to `path`; `counts` (N): how many units each row has."""

    path: Path
    content: np.ndarray
    spans: np.ndarray
    columns: Sequence[Column]
    counts: np.ndarray

    def read(self, row: int) -> list[np.ndarray]:
        """The columns of one row, int32 (W, count).

        Raises ValueError, which names the file, for a row that was damaged.
        """
        start, stop = self.spans[row]
        content = self.content[start:stop].tobytes()
        try:
            return unpack(content, self.columns, int(self.counts[row]))
        except ValueError as error:
            raise ValueError(f"{self.path}: row {row} is {error}. {CURE}") from None


CURE = "Delete the folder of this file: the next run asks the teacher about its rows again"


def open_rows(
    folder: Path,
    name: str,
    columns: Sequence[Column],
    counts: np.ndarray,
) -> RowReader:
    """The files of `name` in `folder`, memory-mapped.

    Raises ValueError for a file that is not there, or that was cut.
    """
    path = folder / f"{name}.bin"
    if not path.exists():
        raise ValueError(f"{path}: not there. {CURE}")
    spans = np.load(folder / f"{name}.spans.npy")
    expected = int(spans.max(initial=0))
    found = path.stat().st_size
    if found != expected:
        raise ValueError(f"{path}: {found:,} bytes of {expected:,}. {CURE}")
    # An empty file cannot be mapped.
    content = np.memmap(path, np.uint8, "r") if found else np.zeros(0, np.uint8)
    return RowReader(
        path=path,
        content=content,
        spans=spans,
        columns=columns,
        counts=counts,
    )
