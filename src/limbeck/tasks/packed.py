"""Rows that are encoded when they are asked for: a split takes the memory of what it is made from, not of float32 inputs.

`PackedTexts`, many texts in a few flat arrays that open from disk at once: row i has the tokens ids[starts[i] : starts[i + 1]] and the units
labels[unit_starts[i] : unit_starts[i + 1]]; `positions` goes with the labels. `Images`: uint8 as they were read, with their labels.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from limbeck.tasks import Encoded


class Lazy(Sequence[Encoded], ABC):
    """Rows of which `row` makes one when it is asked for; what they cost and what they are labelled is known without making any."""

    @abstractmethod
    def row(self, index: int) -> Encoded: ...

    @abstractmethod
    def sizes(self) -> list[int]: ...

    @abstractmethod
    def unit_counts(self) -> list[int]: ...

    @abstractmethod
    def flat_labels(self) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> list[Encoded]: ...
    def __getitem__(self, index: int | slice) -> Encoded | list[Encoded]:
        places = range(len(self))[index]
        return (
            self.row(places) if isinstance(places, int) else [self.row(place) for place in places]
        )


@dataclass(frozen=True)
class PackedTexts(Lazy):
    """Texts."""

    ids: np.ndarray
    starts: np.ndarray
    labels: np.ndarray
    unit_starts: np.ndarray
    positions: np.ndarray | None

    def __len__(self) -> int:
        return len(self.starts) - 1

    def row(self, index: int) -> Encoded:
        ids = self.ids[self.starts[index] : self.starts[index + 1]].astype(np.int64)
        units = slice(self.unit_starts[index], self.unit_starts[index + 1])
        positions = None if self.positions is None else self.positions[units].astype(np.int64)
        return Encoded(
            {"input_ids": ids, "attention_mask": np.ones_like(ids)},
            positions,
            widened(self.labels[units]),
        )

    def sizes(self) -> list[int]:
        return np.diff(self.starts).tolist()

    def unit_counts(self) -> list[int]:
        return np.diff(self.unit_starts).tolist()

    def flat_labels(self) -> np.ndarray:
        return widened(self.labels)


@dataclass(frozen=True)
class Images(Lazy):
    """`pixels(image)` is what the model reads of one of the images; `labels` (N)."""

    images: Sequence[np.ndarray]
    labels: np.ndarray
    pixels: Callable[[np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return len(self.images)

    def row(self, index: int) -> Encoded:
        return Encoded(
            {"pixel_values": self.pixels(self.images[index])}, None, self.labels[[index]]
        )

    def sizes(self) -> list[int]:
        return [1] * len(self)

    def unit_counts(self) -> list[int]:
        return [1] * len(self)

    def flat_labels(self) -> np.ndarray:
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

    def flat_labels(self) -> np.ndarray:
        return flat_labels(self.whole[self.start : self.stop])


def pack(chunks: Iterable[Sequence[Encoded]], folder: Path) -> None:
    """Write rows, a chunk at a time, for `open_packed`."""
    parts: dict[str, list[np.ndarray]] = {
        "ids": [],
        "labels": [],
        "positions": [],
        "sizes": [],
        "units": [],
    }
    for rows in chunks:
        parts["ids"] += [np.concatenate([row.inputs["input_ids"] for row in rows]).astype(np.int32)]
        labels = np.concatenate([row.labels for row in rows])
        parts["labels"] += [labels if labels.dtype.kind == "f" else labels.astype(np.int32)]
        parts["sizes"] += [np.array([row.size for row in rows])]
        parts["units"] += [np.array([len(row.labels) for row in rows])]
        parts["positions"] += [
            row.positions.astype(np.int32) for row in rows if row.positions is not None
        ]
    for name in ("ids", "labels", "positions"):
        if parts[name]:
            np.save(folder / f"{name}.npy", np.concatenate(parts[name]))
    for name, counts in (("starts", parts["sizes"]), ("unit_starts", parts["units"])):
        np.save(folder / f"{name}.npy", np.concatenate([[0], np.cumsum(np.concatenate(counts))]))


def open_packed(folder: Path) -> PackedTexts:
    """The rows that `pack` wrote, memory-mapped."""
    ids, labels = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("ids", "labels"))
    starts, unit_starts = (np.load(folder / f"{name}.npy") for name in ("starts", "unit_starts"))
    positions = (
        np.load(folder / "positions.npy", mmap_mode="r")
        if (folder / "positions.npy").exists()
        else None
    )
    return PackedTexts(ids, starts, labels, unit_starts, positions)


def widened(labels: np.ndarray) -> np.ndarray:
    """Labels as a task gives them: indices, or floats as they are."""
    return np.array(labels) if labels.dtype.kind == "f" else labels.astype(np.int64)


def sizes(rows: Sequence[Encoded]) -> list[int]:
    """What each row costs a batch."""
    return rows.sizes() if isinstance(rows, Lazy) else [row.size for row in rows]


def unit_counts(rows: Sequence[Encoded]) -> list[int]:
    """W of each row."""
    return rows.unit_counts() if isinstance(rows, Lazy) else [len(row.labels) for row in rows]


def flat_labels(rows: Sequence[Encoded]) -> np.ndarray:
    """(P) the labels of every unit, row after row."""
    return (
        rows.flat_labels()
        if isinstance(rows, Lazy)
        else np.concatenate([row.labels for row in rows])
    )


def unit_offsets(encoded: Sequence[Encoded]) -> np.ndarray:
    """(N + 1) the first unit of each row in the flat layout of `Scored`."""
    return np.concatenate([[0], np.cumsum(unit_counts(encoded))])
