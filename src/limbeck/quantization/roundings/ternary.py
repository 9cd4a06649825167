"""Weights of -1, 0 and 1 times a scale: those below a threshold become 0 (ternary weight networks,
Li et al., 2016, arXiv 1605.04711, section 2). For each group of weights,

    threshold = 0.7 mean |w|
    code = sign(w) where |w| > threshold, else 0
    scale = mean |w| over the weights with |w| > threshold

which approximates in closed form the ternary weights and the scale of least squared error. It is
for the format `ternary` alone.

Where the range is learned (`lsq`), training goes on from that scale. Trained ternary quantization
(Zhu et al., 2016, arXiv 1612.01064) does so too, with two magnitudes; the format has one scale a
group.

Deviation: the gradient is that of every format here, 0 where |w| is beyond 1.5 scales. The paper
passes it everywhere.
"""

from typing import ClassVar

import torch
from torch import Tensor

from limbeck.core.grids import Grid
from limbeck.quantization.affine import SMALLEST

# Of mean |w|. The paper's: between the best for uniform weights, 2/3, and for normal ones, 0.75.
THRESHOLD = 0.7


class Ternary:
    """Chooses the scale along with the integers."""

    formats: ClassVar[tuple[str, ...]] = ("ternary",)

    def round(
        self,
        steps: Tensor,
        grid: Grid,
        *,
        training: bool,
    ) -> Tensor:
        """Integers in the shape of `steps`; 0 below the threshold."""
        # A weight far out gets a larger integer than 1: the grid clamps it, which tells the
        # gradient that it is out of range.
        magnitude = steps.abs().round().clamp_min(1)
        return torch.where(is_large(steps), steps.sign() * magnitude, 0)

    def scale(self, values: Tensor) -> Tensor:
        """The scale of each group, (groups), of weights (groups, count)."""
        is_kept = is_large(values)
        total = (values.abs() * is_kept).sum(-1)
        # A group of zeros keeps none.
        count = is_kept.sum(-1).clamp_min(1)
        return (total / count).clamp_min(SMALLEST)


def is_large(values: Tensor) -> Tensor:
    """Where |w| is above the threshold of its group, the last axis."""
    magnitudes = values.abs()
    return magnitudes > THRESHOLD * magnitudes.mean(-1, keepdim=True)
