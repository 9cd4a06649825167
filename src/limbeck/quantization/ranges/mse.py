"""The interval, shrunk from the extremes in steps, whose quantization error is least:

    argmin over a in (0, 1] of mean (Q_a(x) - x)^2

(LAPQ, Nahshan et al., 2019, arXiv 1911.07190, section 3; LSQ+ starts from it, Bhalgat et al., 2020,
arXiv 2004.09576). It is never worse than `minmax`, since a = 1 is tried.

Deviations: the papers minimise over any a, here 1, 39/40, ... 1/40 are tried, so that all groups
are searched at once and none sticks in a local minimum; both ends shrink by the same a.

The codes of `binary` are signs, whatever the scale. The scale of least squared error is then known:
mean |x| (XNOR-Net, Rastegari et al., 2016, arXiv 1603.05279, equation 6).
"""

import torch
from torch import Tensor

from limbeck.core.grids import Grid
from limbeck.models.precision import back_like, in_float64
from limbeck.quantization.affine import SMALLEST, fit_interval, squared_error
from limbeck.quantization.ranges import Fit, Sample

# Intervals that are tried. At 40 the best scale is missed by 1/80 of the extremes at most.
STEPS = 40
# Values that are searched over together: half a megabyte of float32.
AT_A_TIME = 2**17


class Mse(Sample):
    """A search over STEPS shrunk intervals for each group."""

    def fit(self) -> Fit:
        """(scale, zero point), each (G)."""
        return least_error(self)


def least_error(sample: Sample) -> Fit:
    """(scale, zero point), each (G), of least squared error over what `sample` observed."""
    low, high = sample.extremes()
    values = sample.reproducible()
    grid = sample.grid
    if grid.step > 1:
        # In float64: the order of batches must not change the mean.
        mean = in_float64(values).abs().mean(1)
        scale = back_like(mean, values).clamp_min(SMALLEST)
        return scale, torch.zeros_like(scale)
    # Groups are searched for themselves, some at a time: what a step makes of them stays in the
    # processor's cache, where that of an embedding of 12 million would go through memory 300 times.
    count = max(1, AT_A_TIME // values.shape[1])
    parts = zip(values.split(count), low.split(count), high.split(count), strict=True)
    fits = [shrunk_interval(*part, grid) for part in parts]
    return torch.cat([scale for scale, _ in fits]), torch.cat([zero for _, zero in fits])


def shrunk_interval(values: Tensor, low: Tensor, high: Tensor, grid: Grid) -> Fit:
    """(scale, zero point), each (G), of the best of STEPS intervals of each group.

    Args:
        values: (G, N).
        low: (G), the lowest of each group's values.
        high: (G), the highest.
        grid: with more than two levels.
    """
    best_scale, best_zero = fit_interval(low, high, grid)
    best_error = squared_error(values, best_scale, best_zero, grid)
    for step in range(1, STEPS):
        share = 1 - step / STEPS
        scale, zero = fit_interval(low * share, high * share, grid)
        error = squared_error(values, scale, zero, grid)
        is_better = error < best_error
        best_error = torch.where(is_better, error, best_error)
        best_scale = torch.where(is_better, scale, best_scale)
        best_zero = torch.where(is_better, zero, best_zero)
    return best_scale, best_zero
