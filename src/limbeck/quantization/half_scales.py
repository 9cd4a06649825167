"""Scales as the runtimes of text generation store them: fp16 numbers, and where that gains, signed.

    s = sign * fp16(exp(log s))

ggml's blocks Q8_0 and Q4_0 hold an fp16 scale for 32 weights (ggml-quants.c, the `_ref` functions).
A scale that training keeps on fp16's numbers is written there as it is, and as float32 elsewhere.

**The sign.** The lowest level of int4 is -8 and the highest 7. With a scale below 0 these are 8 and
-7 of its size: the farther end goes to the side of the largest weight, as Q4_0 does it. Of normal
weights in groups of 32, at the scale of least squared error, that saves 11 % of the squared error
at 4 bits (20 % against -7..7), 17 % at 3 and 18 % at 2 (docs/log.md). The ends of int8 are equally
far, and its scales positive.

Shapes: G groups of values that share a scale.
"""

from typing import Any

import torch
from torch import Tensor

from limbeck.core.grids import Grid

# The smallest and the largest number of fp16 above 0; a group of zeros has the smallest as scale.
SMALLEST = 2.0**-24
LARGEST = 65504.0


def to_half(scale: Tensor) -> Tensor:
    """The nearest fp16 number above 0 of each scale, in float32."""
    return scale.clamp(SMALLEST, LARGEST).half().float()


def has_sign(grid: Grid) -> bool:
    """Whether a scale below 0 reaches other values than one above: one end is farther out."""
    return grid.symmetric and grid.low != -grid.high


def signs(values: Tensor, grid: Grid) -> Tensor:
    """(G) the sign of each group's scale, 1 or -1, of values (G, count).

    -1 where the largest of a group is positive, so that it meets the grid's lower, larger end.
    """
    low, high = values.aminmax(dim=1)
    is_turned = has_sign(grid) & (high > -low)
    return 1 - 2 * is_turned.float()


class HalfScale(torch.autograd.Function):
    """(log_scale, sign) -> the signed fp16 scale, straight through its rounding to log_scale."""

    @staticmethod
    def forward(ctx: Any, log_scale: Tensor, sign: Tensor) -> Tensor:
        scale = to_half(log_scale.exp()) * sign
        ctx.save_for_backward(scale)
        return scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        (scale,) = ctx.saved_tensors
        # d s / d log s = s, as if there were no rounding.
        return gradient * scale, None
