"""The interval, shrunk from the extremes in steps, whose quantization error is least: argmin over a in (0, 1] of mean (Q_a(x) - x)^2
(LAPQ, Nahshan et al., 2019, arXiv 1911.07190, section 3; the start of LSQ+, Bhalgat et al., 2020, arXiv 2004.09576). Never worse than `minmax`,
since a = 1 is tried.

The codes of `binary` are signs, whatever the scale: its least-squares scale is mean |x| (XNOR-Net, arXiv 1603.05279, equation 6)."""

import torch

from limbeck.quantization.affine import SMALLEST, fit_interval, squared_error
from limbeck.quantization.ranges import Sample

STEPS = 40


class Mse(Sample):
    """A search over STEPS shrunk intervals for each row."""

    def fit(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(scale, zero_point), each (groups)."""
        return least_error(self)


def least_error(sample: Sample) -> tuple[torch.Tensor, torch.Tensor]:
    """(scale, zero_point), each (groups), of the search over what was observed."""
    low, high = sample.extremes()
    values, grid = sample.values(), sample.grid
    if grid.step > 1:
        scale = values.double().abs().mean(1).float().clamp_min(SMALLEST)
        return scale, torch.zeros_like(scale)
    best_scale, best_zero = fit_interval(low, high, grid)
    best_error = squared_error(values, best_scale, best_zero, grid)
    for step in range(1, STEPS):
        scale, zero = fit_interval(low * (1 - step / STEPS), high * (1 - step / STEPS), grid)
        error = squared_error(values, scale, zero, grid)
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best_scale, best_zero = (
            torch.where(better, scale, best_scale),
            torch.where(better, zero, best_zero),
        )
    return best_scale, best_zero
