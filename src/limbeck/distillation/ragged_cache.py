"""A model's outputs over many rows of unlike length, in flat memory-mapped files. A row's output is
cut into cells of one shape; row i owns cells offsets[i] to offsets[i + 1].

| kind | cells of a row | one cell |
|---|---|---|
| hidden (and logits) | its units | (D) |
| places | its places | (D) |
| queries, keys, values | its places | (N, D), N attention heads |
| attention | the square of its places | (N) |
| maps | 1 | (C, H, W) |

Cells are stored in `float16`, or in `int8` with one scale a cell, max |x| / 127 (symmetric): half
the file, at an error of 0.4 % of a cell's largest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from limbeck.core.files import reserve
from limbeck.models.anatomy.attention import FACTORS, PROBABILITIES
from limbeck.models.taps import HIDDEN, MAPS
from limbeck.tasks import Encoded, packed, pad

HIGHEST = 127  # code of int8; -128 is left out, so that the codes are symmetric


def count_cells(
    kind: str,
    rows: Sequence[Encoded],
    places: np.ndarray,
) -> np.ndarray:
    """(N) how many cells each row has; `places` (N): how many places it has."""
    if kind == HIDDEN:
        return np.asarray(packed.unit_counts(rows))
    if kind == MAPS:
        return np.ones(len(rows), np.int64)
    return places**2 if kind == PROBABILITIES else places


def to_cells(
    kind: str,
    values: np.ndarray,
    count: int,
) -> np.ndarray:
    """(count, ...) the cells of one row of a batch's output, its padding left out."""
    if kind == MAPS:
        return values[None]
    if kind in FACTORS:
        return values[:, :count].swapaxes(0, 1)
    if kind == PROBABILITIES:
        # A row's own places in both directions; the batch's may be more.
        side = round(count**0.5)
        own_places = values[:, :side, :side]
        heads_last = np.moveaxis(own_places, 0, -1)
        return heads_last.reshape(count, -1)
    return values[:count]


def from_cells(
    kind: str,
    rows: Sequence[np.ndarray],
    width: int,
) -> np.ndarray:
    """A batch of rows' cells, padded with zeros to `width` units or places."""
    if kind == MAPS:
        return np.concatenate(rows)
    if kind == PROBABILITIES:
        squares = []
        for row in rows:
            side = round(len(row) ** 0.5)
            square = row.reshape(side, side, -1)
            squares.append(_padded(square, width, axes=2))
        heads_last = np.stack(squares)
        return np.moveaxis(heads_last, -1, 1)
    # Padded among themselves first, then as wide as the batch, which may hold wider rows of the
    # other model's tokens.
    cells_first = pad(rows, 0).swapaxes(0, 1)
    wide = _padded(cells_first, width, axes=1)
    batch = wide.swapaxes(0, 1)
    return batch.swapaxes(1, 2) if kind in FACTORS else batch


@dataclass
class Writer:
    """Fills the files of `name` in `folder`. They are made when the first row tells the shape of a
    cell. `offsets` (N + 1): which cells each row owns. `stored`: "float32", "float16", or "int8",
    which has a file of scales beside it."""

    folder: Path
    name: str
    kind: str
    offsets: np.ndarray
    stored: str
    files: dict[str, np.memmap] = field(default_factory=dict)

    def write(self, row: int, values: np.ndarray) -> None:
        """One row of a batch of outputs."""
        start = self.offsets[row]
        stop = self.offsets[row + 1]
        cells = to_cells(self.kind, values, int(stop - start))
        if self.stored == "int8":
            scale = scales_of(cells)
            self._file("scale", scale)[start:stop] = scale
            # The file of codes is int8, and takes whole numbers of the other dtype as they are.
            cells = np.rint(cells / scale)
        self._file("", cells)[start:stop] = cells

    def _file(self, part: str, cells: np.ndarray) -> np.memmap:
        """The file of the cells (`part` "") or of their scales ("scale")."""
        if part not in self.files:
            suffix = f".{part}" if part else ""
            path = self.folder / f"{self.name}{suffix}.npy"
            num_cells = int(self.offsets[-1])
            self.files[part] = np.lib.format.open_memmap(
                path,
                mode="w+",
                dtype=np.dtype(np.float32 if part else self.stored),
                shape=(num_cells, *cells.shape[1:]),
            )
            # A full disk must be an error now: on a memory map it would be a signal later.
            reserve(path)
        return self.files[part]

    def close(self) -> None:
        """Bring everything to the disk, the offsets too."""
        for file in self.files.values():
            file.flush()
        np.save(self.folder / f"{self.name}.offsets.npy", self.offsets)


def scales_of(cells: np.ndarray) -> np.ndarray:
    """(count, 1, ...) float32: the size of one step of each cell's int8 codes."""
    axes_of_cell = tuple(range(1, cells.ndim))
    magnitudes = np.abs(cells)
    largest = magnitudes.max(axes_of_cell, keepdims=True).astype(np.float32)
    # A cell of zeros has no scale, and a step below the smallest normal number divides badly.
    smallest = np.finfo(np.float32).tiny * HIGHEST
    return np.maximum(largest, smallest) / HIGHEST


@dataclass(frozen=True)
class Reader:
    """What a `Writer` wrote. `scale`: one a cell, where cells are int8 codes."""

    kind: str
    values: np.ndarray
    scale: np.ndarray | None
    offsets: np.ndarray

    def cells(self, row: int) -> np.ndarray:
        """The cells of one row."""
        start = self.offsets[row]
        stop = self.offsets[row + 1]
        values = self.values[start:stop]
        if self.scale is None:
            return values
        return values * self.scale[start:stop]


@dataclass(frozen=True)
class Parts:
    """Readers of rows that follow one another, `size` rows in each but the last."""

    parts: Sequence[Reader]
    size: int

    def read(self, rows: np.ndarray, width: int) -> Tensor:
        """The rows' outputs in float32, on the CPU, as a batch whose rows have `width` units or
        places."""
        cells = []
        for row in rows.tolist():
            part = self.parts[row // self.size]
            row_in_part = row % self.size
            cells.append(part.cells(row_in_part))
        kind = self.parts[0].kind
        batch = from_cells(kind, cells, width)
        # Cells of attention come with their axes turned, which torch takes, but slowly.
        in_order = np.ascontiguousarray(batch)
        return torch.from_numpy(in_order).float()


def open_cells(
    folder: Path,
    name: str,
    kind: str,
) -> Reader:
    """The files of `name` in `folder`, memory-mapped."""
    values = np.load(folder / f"{name}.npy", mmap_mode="r")
    scale = None
    scale_path = folder / f"{name}.scale.npy"
    if scale_path.exists():
        scale = np.load(scale_path, mmap_mode="r")
    offsets = np.load(folder / f"{name}.offsets.npy")
    return Reader(kind, values, scale, offsets)


def _padded(
    values: np.ndarray,
    width: int,
    axes: int,
) -> np.ndarray:
    """Zeros behind, until each of the first `axes` axes is `width` long."""
    # Never a negative number: images have places of their own, more than the units asked for.
    missing = [(0, max(0, width - size)) for size in values.shape[:axes]]
    untouched = [(0, 0)] * (values.ndim - axes)
    return np.pad(values, [*missing, *untouched])
