"""How scale and zero point are found: `observe(values)` as often as needed, then `fit() -> (scale, zero_point)`, each (groups).

`values` is (groups, count) float32: one row for a tensor's activations, one row a channel for weights. The order of batches does not matter.
`learned` says whether training goes on from there by gradient, `by_batch` whether a batch counts as one, however many values it has. On affine grids
`learned_offset` says that the zero point is learned beside the scale, and `clipped_only` that only values beyond the grid move the scale.
"""

from typing import ClassVar, Protocol

import torch

from limbeck.core.grids import Grid

SAMPLE = 16384  # values kept of each row of a batch


class Range(Protocol):
    """One file, one way."""

    learned: ClassVar[bool]
    learned_offset: ClassVar[bool]
    clipped_only: ClassVar[bool]
    by_batch: ClassVar[bool]

    def __init__(self, grid: Grid) -> None: ...

    def observe(self, values: torch.Tensor) -> None: ...

    def fit(self) -> tuple[torch.Tensor, torch.Tensor]: ...


class Still:
    """A range that training leaves as it is."""

    learned: ClassVar[bool] = False
    learned_offset: ClassVar[bool] = False
    clipped_only: ClassVar[bool] = False
    by_batch: ClassVar[bool] = False


class Sample(Still):
    """What a range observes: the exact extremes of every row, and an evenly strided sample of at most SAMPLE values of each row of each batch."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.parts: list[torch.Tensor] = []
        self.lows: list[torch.Tensor] = []
        self.highs: list[torch.Tensor] = []

    def observe(self, values: torch.Tensor) -> None:
        """One batch, (groups, count)."""
        stride = -(-values.shape[1] // SAMPLE)
        self.parts.append(values[:, ::stride].float().clone())
        low, high = values.aminmax(dim=1)
        self.lows.append(low.float())
        self.highs.append(high.float())

    def extremes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(low, high), each (groups). Raises ValueError before any batch, or for values that are not finite."""
        if not self.lows:
            raise ValueError("a range was fitted before it observed any batch")
        low, high = torch.stack(self.lows).amin(0), torch.stack(self.highs).amax(0)
        if not (torch.isfinite(low).all() and torch.isfinite(high).all()):
            raise ValueError("a range observed values that are not finite")
        return low, high

    def values(self) -> torch.Tensor:
        """(groups, count), sorted within a row so that the order of batches does not matter."""
        return torch.cat(self.parts, 1).sort(1).values
