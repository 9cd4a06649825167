"""Rows that are encoded when they are asked for: a split takes the memory of what it is made from,
not of its float32 inputs.

`PackedTexts` are many texts in a few flat arrays that open from disk at once: row i has the tokens
ids[starts[i] : starts[i + 1]] and the units labels[unit_starts[i] : unit_starts[i + 1]], with their
`positions`; begins[i] rows of the data begin in it. `Images` are uint8 as they were read.

Shapes: N rows, P units of all rows, W of one.
"""

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, overload

import numpy as np
from numpy.lib import format

from limbeck.tasks import Encoded
from limbeck.tasks.types import Array

# By name, because the stage that holds it tells its layout from those before it.
BEGINS = "begins.npy"


class Lazy(Sequence[Encoded], ABC):
    """Rows that are made when they are asked for; what they cost and how they are labelled is
    known without making any."""

    @abstractmethod
    def row(self, index: int) -> Encoded: ...

    @abstractmethod
    def sizes(self) -> list[int]:
        """What each row costs a batch."""

    @abstractmethod
    def unit_counts(self) -> list[int]:
        """W of each row."""

    @abstractmethod
    def flat_labels(self) -> Array:
        """(P) the labels of every unit, row after row."""

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> list[Encoded]: ...
    def __getitem__(self, index: int | slice) -> Encoded | list[Encoded]:
        # A range reads negative indices and slices as a list does, and raises IndexError.
        places = range(len(self))[index]
        if isinstance(places, int):
            return self.row(places)
        return [self.row(place) for place in places]


@dataclass(frozen=True)
class PackedTexts(Lazy):
    """Texts, flat: arrays as the module's docstring says."""

    ids: Array
    starts: Array
    labels: Array
    unit_starts: Array
    positions: Array | None
    begins: Array

    def __len__(self) -> int:
        return len(self.starts) - 1

    def row(self, index: int) -> Encoded:
        tokens = slice(self.starts[index], self.starts[index + 1])
        # A copy: what lies on disk is mapped read-only, and in int32.
        ids = self.ids[tokens].astype(np.int64)
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        units = slice(self.unit_starts[index], self.unit_starts[index + 1])
        labels = widened(self.labels[units])
        positions = None
        if self.positions is not None:
            positions = self.positions[units].astype(np.int64)
        return Encoded(inputs, positions, labels, begins=int(self.begins[index]))

    def sizes(self) -> list[int]:
        return np.diff(self.starts).tolist()

    def unit_counts(self) -> list[int]:
        return np.diff(self.unit_starts).tolist()

    def flat_labels(self) -> Array:
        return widened(self.labels)


@dataclass(frozen=True)
class Images(Lazy):
    """`images`: uint8; `labels`: (N) or (N, V); `pixels(image)`: what the model reads of one."""

    images: Sequence[Array]
    labels: Array
    pixels: Callable[[Array], Array]

    def __len__(self) -> int:
        return len(self.images)

    def row(self, index: int) -> Encoded:
        pixels = self.pixels(self.images[index])
        # A list of one index keeps the axis of units.
        labels = self.labels[[index]]
        return Encoded({"pixel_values": pixels}, None, labels)

    def sizes(self) -> list[int]:
        # All images have the model's size, and a batch is counted in rows.
        return [1] * len(self)

    def unit_counts(self) -> list[int]:
        return [1] * len(self)

    def flat_labels(self) -> Array:
        return self.labels


@dataclass(frozen=True)
class Part(Lazy):
    """The rows of `whole` from `start` to before `stop`."""

    whole: Sequence[Encoded]
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def row(self, index: int) -> Encoded:
        return self.whole[self.start + index]

    def sizes(self) -> list[int]:
        return sizes(self.whole)[self.start : self.stop]

    def unit_counts(self) -> list[int]:
        return unit_counts(self.whole)[self.start : self.stop]

    def flat_labels(self) -> Array:
        # `start` and `stop` count rows, and the whole's labels are one for each unit.
        return flat_labels(self.whole[self.start : self.stop])


def pack(chunks: Iterable[Sequence[Encoded]], folder: Path) -> None:
    """Write rows of tokens for `open_packed`, a chunk at a time: of the chunks before nothing stays
    in memory but their rows' sizes."""
    ids = Growing(folder / "ids.npy")
    labels = Growing(folder / "labels.npy")
    positions = Growing(folder / "positions.npy")
    row_sizes = array("q")
    row_units = array("q")
    row_begins = array("q")
    for rows in chunks:
        chunk_ids = np.concatenate([row.inputs["input_ids"] for row in rows])
        chunk_labels = np.concatenate([row.labels for row in rows])
        # No vocabulary has two billion tokens: int32 is half the file.
        ids.append(chunk_ids.astype(np.int32))
        labels.append(narrowed(chunk_labels))
        row_sizes.extend(row.size for row in rows)
        row_units.extend(len(row.labels) for row in rows)
        row_begins.extend(row.begins for row in rows)
        # A task whose model answers once a row has none.
        places = [row.positions for row in rows if row.positions is not None]
        if places:
            positions.append(np.concatenate(places).astype(np.int32))
    for each in (ids, labels, positions):
        each.close()
    np.save(folder / "starts.npy", starts_of(row_sizes))
    np.save(folder / "unit_starts.npy", starts_of(row_units))
    np.save(folder / BEGINS, np.array(row_begins, np.int64))


class Growing:
    """An array of one axis in a `.npy` file, written in parts; there is none without a part."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: BinaryIO | None = None
        self.dtype = np.dtype(np.int32)
        self.length = 0

    def append(self, part: Array) -> None:
        """Write a part behind those that are there, all of one type."""
        if self.file is None:
            self.file = self.path.open("wb")
            self.dtype = part.dtype
            self._write_header(0)
        assert part.dtype == self.dtype
        self.file.write(np.ascontiguousarray(part).data)
        self.length += len(part)

    def close(self) -> None:
        """Write how long it is."""
        if self.file is None:
            return
        self.file.seek(0)
        self._write_header(self.length)
        self.file.close()

    def _write_header(self, length: int) -> None:
        assert self.file is not None
        # numpy leaves room for a longer number of rows, so that every header is as long.
        described = {"descr": self.dtype.str, "fortran_order": False, "shape": (length,)}
        format.write_array_header_1_0(self.file, described)


def open_packed(folder: Path) -> PackedTexts:
    """The rows that `pack` wrote; what is long is mapped into memory, not read."""
    positions = None
    if (folder / "positions.npy").exists():
        positions = np.load(folder / "positions.npy", mmap_mode="r")
    return PackedTexts(
        ids=np.load(folder / "ids.npy", mmap_mode="r"),
        starts=np.load(folder / "starts.npy"),
        labels=np.load(folder / "labels.npy", mmap_mode="r"),
        unit_starts=np.load(folder / "unit_starts.npy"),
        positions=positions,
        begins=np.load(folder / BEGINS),
    )


def starts_of(counts: Sequence[int]) -> Array:
    """(N + 1) where each row starts in a flat array, and where the last ends."""
    # Typed, because of no rows at all numpy would make floats.
    typed_counts = np.array(counts, np.int64)
    return np.concatenate([[0], np.cumsum(typed_counts)])


def narrowed(labels: Array) -> Array:
    """Labels as they lie on disk: indices in half the bytes, numbers as they are."""
    return labels if labels.dtype.kind == "f" else labels.astype(np.int32)


def widened(labels: Array) -> Array:
    """Labels as a task gives them: indices, or numbers as they are."""
    return np.array(labels) if labels.dtype.kind == "f" else labels.astype(np.int64)


def sizes(rows: Sequence[Encoded]) -> list[int]:
    """What each row costs a batch."""
    # Asked of the rows as a whole, because each would be made to be looked at.
    if isinstance(rows, Lazy):
        return rows.sizes()
    return [row.size for row in rows]


def unit_counts(rows: Sequence[Encoded]) -> list[int]:
    """W of each row."""
    if isinstance(rows, Lazy):
        return rows.unit_counts()
    return [len(row.labels) for row in rows]


def begins(rows: Sequence[Encoded]) -> Array:
    """(N) how many rows of the data begin in each."""
    if isinstance(rows, PackedTexts):
        return rows.begins
    return np.array([row.begins for row in rows], np.int64)


def flat_labels(rows: Sequence[Encoded]) -> Array:
    """(P) the labels of every unit, row after row."""
    if isinstance(rows, Lazy):
        return rows.flat_labels()
    return np.concatenate([row.labels for row in rows])


def labels_of_answers(encoded: Sequence[Encoded]) -> tuple[Array, Array]:
    """The labels and offsets of a split's answers, as `Scored` has them: a unit each, but one for
    all windows of a text, whose answers are averaged."""
    if len(encoded) and encoded[0].windows:
        return np.concatenate([row.labels[:1] for row in encoded]), np.arange(len(encoded) + 1)
    return flat_labels(encoded), unit_offsets(encoded)


def averaged(row: Encoded, logits: Array) -> Array:
    """The logits of a row's units (W, V); of the windows of one text their mean (1, V)."""
    return logits.mean(0, keepdims=True) if row.windows else logits


def unit_offsets(encoded: Sequence[Encoded]) -> Array:
    """(N + 1) the first unit of each row in the flat layout of `Scored`."""
    return starts_of(unit_counts(encoded))
