"""Affine quantization as pure functions.

    codes = clamp(round(x / scale) + zero_point, low, high)
    x^    = (codes - zero_point) * scale

Jacob et al., 2018, arXiv 1712.05877, equation 1; rounding half to even as ONNX's QuantizeLinear.
On grids whose levels are not all integers `round` goes to the nearest level
(`grids_torch.nearest_level`).

Shapes: values are (G, count), G groups. Each row has a scale and a zero point of its own, (G).
Everything is float32, codes too; `grids_torch` puts them into bytes.
"""

import torch
from torch import Tensor

from limbeck.core.grids import Grid
from limbeck.quantization.grids_torch import nearest_level

# A scale never falls below it: far below any weight that matters, and large enough for x / scale
# to stay finite.
SMALLEST = 1e-12


def quantize(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    grid: Grid,
) -> Tensor:
    """Codes as float32 integers; `scale` and `zero_point` broadcast against `x`."""
    levels = nearest_level(x / scale, grid)
    codes = levels + zero_point
    return codes.clamp(grid.low, grid.high)


def dequantize(
    codes: Tensor,
    scale: Tensor,
    zero_point: Tensor,
) -> Tensor:
    """The values that codes stand for."""
    return (codes - zero_point) * scale


def fit_interval(
    low: Tensor,
    high: Tensor,
    grid: Grid,
) -> tuple[Tensor, Tensor]:
    """(scale, zero_point), (G) each, by which the grid covers [low, high] of each group.

    Zero is on the grid, or between the two levels of `binary`. An interval that leaves it out is
    widened to it.
    """
    low = low.clamp_max(0)
    high = high.clamp_min(0)
    if grid.symmetric:
        # The end that needs the larger scale decides: int4 has one level more below zero.
        scale = torch.maximum(low / grid.low, high / grid.high)
        scale = scale.clamp_min(SMALLEST)
        return scale, torch.zeros_like(scale)
    num_steps = grid.high - grid.low
    # Divided before they are subtracted: high - low may overflow.
    scale = high / num_steps - low / num_steps
    scale = scale.clamp_min(SMALLEST)
    zero_point = grid.low - torch.round(low / scale)
    return scale, zero_point.clamp(grid.low, grid.high)


def squared_error(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    grid: Grid,
) -> Tensor:
    """(G) mean squared error of each row of `x` (G, count)."""
    scale = scale.unsqueeze(1)
    zero_point = zero_point.unsqueeze(1)
    codes = quantize(x, scale, zero_point, grid)
    error = dequantize(codes, scale, zero_point) - x
    return error.square().mean(1)
