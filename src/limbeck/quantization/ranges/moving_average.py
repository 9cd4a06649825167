"""The grid covers the mean of every batch's extremes, so that one batch's outlier counts for a batch alone.

Jacob et al. (2018, arXiv 1712.05877, section 3.1) take an exponential moving average, since a training's newest batches say more. Batches of
calibration have no order: here all of them weigh the same.
"""

from typing import ClassVar

import torch

from limbeck.quantization.affine import fit_interval
from limbeck.quantization.ranges import Sample


class MovingAverage(Sample):
    """The mean of the extremes."""

    by_batch: ClassVar[bool] = True

    def fit(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(scale, zero_point), each (groups)."""
        self.extremes()
        low, high = (
            torch.stack(ends).double().sort(0).values.mean(0).float()
            for ends in (self.lows, self.highs)
        )
        return fit_interval(low, high, self.grid)
