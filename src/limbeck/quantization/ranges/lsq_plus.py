"""Learned step and offset (LSQ+, Bhalgat et al., 2020, arXiv 2004.09576, section 3):

    x^ = (c - z) s,    c = clamp(round(x / s) + z)

with the step s and the zero point z learned. s has the gradient of `lsq`. The paper's offset is
beta = -z s; dx^/d beta is 1 where a value is clipped and 0 inside (`quantization.modules.fake`).
Activations start from the least squared error, weights (symmetric, no offset) from

    s = max(|mu - 3 sigma|, |mu + 3 sigma|) / 2^(b - 1)

Deviations:

- z is rounded in the forward pass, straight through in the backward one, and stays on the grid.
  So zero is exact, and the exported integer is the one that was trained with.
- The parameter is z as a share of the grid, so that Adam moves it at the pace of log(s), whatever
  the tensor's unit. With z held, a change of s moves both ends.
- A tensor that starts with z = 0, as after a ReLU, keeps it: the ReLU is then the grid's own end,
  and runs in the integer kernel.
- Where a channel's extremes err less than 3 sigma does, as on 8 bits, they are its start.
- Signs (`binary`) start as in `mse`.
"""

from typing import ClassVar

import torch

from limbeck.models.precision import back_like, in_float64
from limbeck.quantization.affine import SMALLEST, fit_interval, squared_error
from limbeck.quantization.ranges import Fit, Sample
from limbeck.quantization.ranges.mse import least_error

# How many sigmas from the mean a weight's grid reaches at the start: the paper's.
DEVIATIONS = 3


class LsqPlus(Sample):
    """Activations start as `mse`, weights from mean and deviation; both learn."""

    learned: ClassVar[bool] = True
    learned_offset: ClassVar[bool] = True

    def fit(self) -> Fit:
        """(scale, zero point), each (G)."""
        if not self.grid.symmetric or self.grid.step > 1:
            return least_error(self)
        low, high = self.extremes()
        values = self.reproducible()
        widest, zero = fit_interval(low, high, self.grid)
        deviation, mean = torch.std_mean(in_float64(values), 1, correction=0)
        reach = mean.abs() + DEVIATIONS * deviation
        scale = reach / -self.grid.low
        scale = back_like(scale.clamp_min(SMALLEST), widest)
        # Wider than the extremes, levels would be wasted.
        scale = scale.minimum(widest)
        error = squared_error(values, scale, zero, self.grid)
        widest_error = squared_error(values, widest, zero, self.grid)
        return torch.where(error < widest_error, scale, widest), zero
