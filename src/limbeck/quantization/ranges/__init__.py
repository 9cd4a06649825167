"""How the scale and the zero point of a tensor are found: one file, one way.

A range sees values as often as needed (`observe`), then says what the grid covers (`fit`). The
order of batches does not matter. A tensor's activations are one group, a weight has a group for
each output channel, or several; groups do not see each other.

Shapes: G groups, N values of a group in a batch.
"""

from typing import ClassVar, Protocol

import torch
from torch import Tensor

from limbeck.core.grids import Grid

# Values kept of each group of each batch. Extremes are kept apart and exact; the search for an
# interval needs the distribution alone.
SAMPLE = 16384

# A scale and a zero point for each group, (G) each.
Fit = tuple[Tensor, Tensor]


class Range(Protocol):
    """What a range has and does.

    learned: whether training goes on from what was fitted, by gradient.
    learned_offset: whether the zero point is learned beside the scale, on affine grids.
    clipped_only: whether only values beyond the grid move the scale, on affine grids.
    by_batch: whether a batch counts as one, however many values it has.
    each_step: whether a weight's extremes are covered anew before every training step.
    """

    learned: ClassVar[bool]
    learned_offset: ClassVar[bool]
    clipped_only: ClassVar[bool]
    by_batch: ClassVar[bool]
    each_step: ClassVar[bool]

    def __init__(self, grid: Grid) -> None: ...

    def observe(self, values: Tensor) -> None:
        """Take in one batch, (G, N) float32; the tensor may be overwritten afterwards."""
        ...

    def fit(self) -> Fit:
        """(scale, zero point), on the device of what was observed.

        Zero is exactly on the grid (but for `binary`, which has none), and an input that is n times
        as large has n times the scale. `affine.fit_interval` gives both of any interval. What wants
        float64 asks `models.precision`: not every device has it.

        Raises ValueError before any batch, and for values that are not finite.
        """
        ...


class Still:
    """A range that training leaves as it is."""

    learned: ClassVar[bool] = False
    learned_offset: ClassVar[bool] = False
    clipped_only: ClassVar[bool] = False
    by_batch: ClassVar[bool] = False
    each_step: ClassVar[bool] = False


class Sample(Still):
    """What most ranges observe: the exact extremes of every group, and a sample of its values.

    The sample is every n-th value of a batch, at most SAMPLE of each group of each batch.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.parts: list[Tensor] = []
        self.lows: list[Tensor] = []
        self.highs: list[Tensor] = []

    def observe(self, values: Tensor) -> None:
        """Take in one batch, (G, N)."""
        count = values.shape[1]
        stride = -(-count // SAMPLE)
        # A copy: a model may write its activations in place.
        part = values[:, ::stride].float()
        self.parts.append(part.clone())
        low, high = values.aminmax(dim=1)
        self.lows.append(low.float())
        self.highs.append(high.float())

    def extremes(self) -> tuple[Tensor, Tensor]:
        """(lowest, highest), each (G).

        Raises ValueError before any batch, and for values that are not finite.
        """
        if not self.lows:
            raise ValueError("a range was fitted before it observed any batch")
        low = torch.stack(self.lows).amin(0)
        high = torch.stack(self.highs).amax(0)
        is_finite = torch.isfinite(low) & torch.isfinite(high)
        if not is_finite.all():
            raise ValueError("a range observed values that are not finite")
        return low, high

    def values(self) -> Tensor:
        """The sample, (G, N of all batches), sorted within a group."""
        return torch.cat(self.parts, 1).sort(1).values

    def reproducible(self) -> Tensor:
        """The sample, (G, N of all batches), in an order that the batches have no part in.

        Sums of floats hang on their order, which that of the batches must not change.
        """
        # A weight is observed once, and sorting its millions of values takes longer than the rest.
        return self.parts[0] if len(self.parts) == 1 else self.values()
