"""Learned step and offset (LSQ+, Bhalgat et al., 2020, arXiv 2004.09576, section 3): x^ = (c - z) s, c = clamp(round(x / s) + z), both learned.

The step s has the gradient of `lsq`; its offset beta = -z s has dx^/d beta = 1 where a value is clipped, 0 inside. Activations start from the least
squared error, weights (symmetric, no offset) from s = max(|mu - 3 sigma|, |mu + 3 sigma|) / 2^(b-1).

Deviations: z is rounded in the forward, straight through backward, and stays on the grid, so that zero is exact and the exported integer is the one
trained with. The parameter is z as a share of the grid, so that Adam moves it at the pace of log(s), whatever the tensor's unit; held so, a change of
s moves both ends. A tensor that starts with z = 0, as after a ReLU, keeps it: the ReLU is then the grid's own end, and runs in the integer kernel.
Where a channel's extremes err less than 3 sigma does, as on 8 bits, they are its start; signs (`binary`) start as `mse`.
"""

from typing import ClassVar

import torch

from limbeck.quantization.affine import SMALLEST, fit_interval, squared_error
from limbeck.quantization.ranges import Sample
from limbeck.quantization.ranges.mse import least_error

DEVIATIONS = 3


class LsqPlus(Sample):
    """Activations start as `mse`, weights from mean and deviation; both learn."""

    learned: ClassVar[bool] = True
    learned_offset: ClassVar[bool] = True

    def fit(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(scale, zero_point), each (groups)."""
        if not self.grid.symmetric or self.grid.step > 1:
            return least_error(self)
        scale, zero = fit_interval(*self.extremes(), self.grid)
        values = self.values()
        deviation, mean = torch.std_mean(values.double(), 1, correction=0)
        narrow = (
            ((mean.abs() + DEVIATIONS * deviation) / -self.grid.low)
            .clamp_min(SMALLEST)
            .float()
            .minimum(scale)
        )
        better = squared_error(values, narrow, zero, self.grid) < squared_error(
            values, scale, zero, self.grid
        )
        return torch.where(better, narrow, scale), zero
