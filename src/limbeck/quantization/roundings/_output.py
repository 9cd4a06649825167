"""What roundings by layer have in common: the error of a layer's outputs.

It is a quadratic form of the error of the weights,

    || X (W^ - W)^T ||^2 = sum_o e_o G e_o^T    with e_o = W^_o - W_o and G = X^T X

(GPTQ, arXiv 2210.17323, equation 1; AdaRound, arXiv 2004.10568, equation 20): G is all that has to
be kept of the inputs X, and rows o of W do not see each other. It is computed in float64.

Shapes: N positions, O outputs, D inputs; axes before them are separate layers.
"""

import torch
from torch import Tensor

from limbeck.core.grids import Grid
from limbeck.models.precision import in_float64
from limbeck.quantization.affine import dequantize, quantize

# Inputs taken to float64 at a time, to bound the memory that takes.
POSITIONS = 2048


def second_moment(inputs: Tensor) -> Tensor:
    """G = X^T X, (..., D, D) float64 (`in_float64`), of inputs (..., N, D)."""
    *layers, _, width = inputs.shape
    moment = in_float64(inputs.new_zeros((*layers, width, width)))
    # Sums in float32 would lose digits that the inverse of G needs.
    for part in inputs.split(POSITIONS, -2):
        wide = in_float64(part)
        moment += wide.mT @ wide
    return moment


def output_error(error: Tensor, moment: Tensor) -> Tensor:
    """(..., O) e G e^T, of the error (..., O, D) of the weights and the moment G (..., D, D)."""
    error = in_float64(error)
    return ((error @ moment) * error).sum(-1)


def column_scales(scale: Tensor, width: int) -> Tensor:
    """(..., O, D) the scale of every weight, of the scales (..., O, groups)."""
    group = width // scale.shape[-1]
    return scale.repeat_interleave(group, -1)


def at_nearest(
    weight: Tensor,
    scales: Tensor,
    grid: Grid,
) -> Tensor:
    """Weights (..., O, D) at their nearest levels; `scales` (..., O, D) are those of each."""
    # Weights lie on symmetric grids.
    zero_point = scales.new_zeros(())
    codes = quantize(weight, scales, zero_point, grid)
    return dequantize(codes, scales, zero_point)


def better_rows(
    solved: Tensor,
    weight: Tensor,
    scales: Tensor,
    grid: Grid,
    moment: Tensor,
) -> Tensor:
    """The rows of `solved` (..., O, D) whose outputs err less than at the nearest levels.

    The other rows are at the nearest levels of `weight`, whose scales (..., O, D) are `scales`.
    """
    nearest = at_nearest(weight, scales, grid)
    error = output_error(solved - weight, moment)
    is_better = error < output_error(nearest - weight, moment)
    is_better = is_better.unsqueeze(-1).to(solved.device)
    return torch.where(is_better, solved, nearest)
