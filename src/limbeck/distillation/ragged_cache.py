"""A model's outputs over many rows of unlike length, in flat memory-mapped files: row i owns cells offsets[i] to offsets[i + 1].

| kind | cells of a row | one cell |
|---|---|---|
| hidden (and logits) | its units | (D) |
| places | its places | (D) |
| queries, keys, values | its places | (N, D) of the heads |
| attention | the square of its places | (N) of the heads |
| maps | 1 | (C, H, W) |

`float16`, or `int8` with one scale a cell, max |x| / 127 (symmetric, as in `quant.affine`): half the file, at an error of 0.4 % of a cell's largest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from limbeck.core.files import reserve
from limbeck.models.attention import FACTORS, PROBABILITIES
from limbeck.models.taps import HIDDEN, MAPS
from limbeck.tasks import Encoded, packed, pad

HIGHEST = 127  # of int8, which is symmetric


def counts(kind: str, rows: Sequence[Encoded], places: np.ndarray) -> np.ndarray:
    """(N) cells of each row; `places` (N) of them."""
    if kind == HIDDEN:
        return np.asarray(packed.unit_counts(rows))
    if kind == MAPS:
        return np.ones(len(rows), np.int64)
    return places**2 if kind == PROBABILITIES else places


def to_cells(kind: str, values: np.ndarray, count: int) -> np.ndarray:
    """(count, ...) cells of one row of a batch, its padding left out."""
    if kind == MAPS:
        return values[None]
    if kind in FACTORS:
        return values[:, :count].swapaxes(0, 1)
    if kind == PROBABILITIES:
        side = round(count**0.5)
        return np.moveaxis(values[:, :side, :side], 0, -1).reshape(count, -1)
    return values[:count]


def from_cells(kind: str, rows: Sequence[np.ndarray], width: int) -> np.ndarray:
    """A batch of rows' cells, padded with zeros to `width` units or places."""
    if kind == MAPS:
        return np.concatenate(rows)
    if kind == PROBABILITIES:
        sides = [round(len(row) ** 0.5) for row in rows]
        squares = [
            _padded(row.reshape(side, side, -1), width, axes=2)
            for row, side in zip(rows, sides, strict=True)
        ]
        return np.moveaxis(np.stack(squares), -1, 1)
    found = _padded(pad(rows, 0).swapaxes(0, 1), width, axes=1).swapaxes(0, 1)
    return found.swapaxes(1, 2) if kind in FACTORS else found


@dataclass
class Writer:
    """Fills the files of `name` in `folder`, made when the first row tells a cell's shape."""

    folder: Path
    name: str
    kind: str
    offsets: np.ndarray
    stored: str
    files: dict[str, np.memmap] = field(default_factory=dict)

    def write(self, row: int, values: np.ndarray) -> None:
        """One row of a batch of outputs."""
        start, stop = self.offsets[row], self.offsets[row + 1]
        cells = to_cells(self.kind, values, int(stop - start))
        if self.stored == "int8":
            largest = (
                np.abs(cells).max(tuple(range(1, cells.ndim)), keepdims=True).astype(np.float32)
            )
            scale = np.maximum(largest, np.finfo(np.float32).tiny * HIGHEST) / HIGHEST
            self._file("scale", scale)[start:stop] = scale
            cells = np.rint(cells / scale)
        self._file("", cells)[start:stop] = cells

    def _file(self, part: str, cells: np.ndarray) -> np.memmap:
        """The file of cells, or of their scales."""
        if part not in self.files:
            path = self.folder / f"{self.name}{part and '.'}{part}.npy"
            dtype = np.float32 if part else np.dtype(self.stored)
            self.files[part] = np.lib.format.open_memmap(
                path, mode="w+", dtype=dtype, shape=(int(self.offsets[-1]), *cells.shape[1:])
            )
            reserve(path)
        return self.files[part]

    def close(self) -> None:
        """Everything on disk."""
        for file in self.files.values():
            file.flush()
        np.save(self.folder / f"{self.name}.offsets.npy", self.offsets)


@dataclass(frozen=True)
class Reader:
    """What a `Writer` wrote."""

    kind: str
    values: np.ndarray
    scale: np.ndarray | None
    offsets: np.ndarray

    def cells(self, row: int) -> np.ndarray:
        """One row's."""
        span = slice(self.offsets[row], self.offsets[row + 1])
        return self.values[span] if self.scale is None else self.values[span] * self.scale[span]


@dataclass(frozen=True)
class Parts:
    """The same of more rows, `size` of them in each part but the last."""

    parts: Sequence[Reader]
    size: int

    def read(self, rows: np.ndarray, width: int) -> torch.Tensor:
        """The rows' outputs as a batch whose rows have `width` units or places."""
        cells = [self.parts[row // self.size].cells(row % self.size) for row in rows.tolist()]
        return torch.from_numpy(
            np.ascontiguousarray(from_cells(self.parts[0].kind, cells, width))
        ).float()


def open_cells(folder: Path, name: str, kind: str) -> Reader:
    """The files of `name`, memory-mapped."""
    scale = folder / f"{name}.scale.npy"
    return Reader(
        kind, np.load(folder / f"{name}.npy", mmap_mode="r"), np.load(scale, mmap_mode="r") if scale.exists() else None,
        np.load(folder / f"{name}.offsets.npy"),
    )  # fmt: skip


def _padded(values: np.ndarray, width: int, axes: int) -> np.ndarray:
    """Zeros behind, until each of the first `axes` axes is `width` long."""
    missing = [
        (0, max(0, width - size)) for size in values.shape[:axes]
    ]  # images have places of their own, all as many
    return np.pad(values, [*missing, *[(0, 0)] * (values.ndim - axes)])
