"""Ternary weight networks (Li et al., 2016, arXiv 1605.04711, section 2): with the threshold D = 0.7 mean |w| of a group,

    code = sign(w) where |w| > D, else 0        scale = mean |w| over the weights with |w| > D

an approximation in closed form of the ternary weights and the scale of least squared error. For the format `ternary` alone. Where the range is
learned (`lsq`), training goes on from that scale, as TTQ's (arXiv 1612.01064) does, with one magnitude instead of two: the format keeps one scale a
group.

The gradient is that of every format here, 0 where |w| is beyond 1.5 scales; the paper passes it everywhere.
"""

from typing import ClassVar

import torch

from limbeck.core.grids import Grid
from limbeck.quantization.affine import SMALLEST

SHARE = 0.7  # of mean |w|: between the best for uniform weights, 2/3, and for normal ones, 0.75


class Ternary:
    """No keys."""

    formats: ClassVar[tuple[str, ...]] = ("ternary",)

    def round(self, steps: torch.Tensor, grid: Grid, *, training: bool) -> torch.Tensor:
        """Integers of the shape of `steps`; beyond 1.5 they leave the grid, which clamps them, so that the gradient knows."""
        return torch.where(large(steps), steps.sign() * steps.abs().round().clamp_min(1), 0)

    def scale(self, values: torch.Tensor) -> torch.Tensor:
        """(groups) for weights (groups, count)."""
        kept = large(values)
        return ((values.abs() * kept).sum(-1) / kept.sum(-1).clamp_min(1)).clamp_min(SMALLEST)


def large(values: torch.Tensor) -> torch.Tensor:
    """Where |w| is above the threshold of its group."""
    return values.abs() > SHARE * values.abs().mean(-1, keepdim=True)
