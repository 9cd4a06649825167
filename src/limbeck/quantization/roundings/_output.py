"""What roundings by layer have in common: the error of a layer's outputs as a quadratic form of the error of its weights,

    || X (W^ - W)^T ||^2 = sum_o e_o G e_o^T    with e_o = W^_o - W_o and G = X^T X

(GPTQ, arXiv 2210.17323, equation 1; AdaRound, arXiv 2004.10568, equation 20). Rows of W do not see each other. In float64.
"""

import torch

from limbeck.core.grids import Grid
from limbeck.quantization.affine import dequantize, quantize

POSITIONS = 2048  # taken to float64 at a time
ZERO = torch.zeros(())  # the zero point of every grid of weights


def gram(inputs: torch.Tensor) -> torch.Tensor:
    """(..., D, D) X^T X of inputs (..., N, D)."""
    found = inputs.new_zeros(
        (*inputs.shape[:-2], inputs.shape[-1], inputs.shape[-1]), dtype=torch.float64
    )
    for part in inputs.split(POSITIONS, -2):
        found += part.double().mT @ part.double()
    return found


def output_error(error: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """(..., O) e G e^T of the error (..., O, D) of the weights and G (..., D, D)."""
    error = error.double()
    return ((error @ moment) * error).sum(-1)


def spread(scale: torch.Tensor, width: int) -> torch.Tensor:
    """(..., O, D) the scale of every weight, of scales (..., O, groups)."""
    return scale.repeat_interleave(width // scale.shape[-1], -1)


def nearest(weight: torch.Tensor, columns: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Weights (..., O, D) at their nearest levels; `columns` are their scales."""
    return dequantize(quantize(weight, columns, ZERO, grid), columns, ZERO)


def or_nearest(
    found: torch.Tensor,
    weight: torch.Tensor,
    columns: torch.Tensor,
    grid: Grid,
    moment: torch.Tensor,
) -> torch.Tensor:
    """`found` (..., O, D), in the rows where its outputs err less than those of the nearest levels; elsewhere these."""
    plain = nearest(weight, columns, grid)
    better = output_error(found - weight, moment) < output_error(plain - weight, moment)
    return torch.where(better.unsqueeze(-1), found, plain)
