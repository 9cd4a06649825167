"""The grid covers the mean of every batch's extremes: one batch's outlier counts for a batch alone.

Deviation: Jacob et al. (2018, arXiv 1712.05877, section 3.1) take an exponential moving average,
since a training's newest batches say more. Batches of calibration have no order: here all of them
weigh the same.
"""

from typing import ClassVar

import torch
from torch import Tensor

from limbeck.models.precision import back_like, in_float64
from limbeck.quantization.affine import fit_interval
from limbeck.quantization.ranges import Fit, Sample


class MovingAverage(Sample):
    """The mean of the extremes, over batches."""

    by_batch: ClassVar[bool] = True

    def fit(self) -> Fit:
        """(scale, zero point), each (G)."""
        # Refuses what is not finite; the extremes over all batches are not used.
        self.extremes()
        low = mean_over_batches(self.lows)
        high = mean_over_batches(self.highs)
        return fit_interval(low, high, self.grid)


def mean_over_batches(ends: list[Tensor]) -> Tensor:
    """(G) the mean of one end of each batch, each (G)."""
    # Sorted, and in float64: the order of batches must not change the sum.
    ordered = in_float64(torch.stack(ends)).sort(0).values
    return back_like(ordered.mean(0), ends[0])
