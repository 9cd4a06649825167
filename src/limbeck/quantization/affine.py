"""Affine quantization as pure functions (Jacob et al., 2018, arXiv 1712.05877, equation 1; rounding half to even as ONNX QuantizeLinear):

    codes = clamp(round(x / scale) + zero_point, low, high)        x^ = (codes - zero_point) * scale

`round` goes to the grid's nearest level where its levels are not all integers (`grids_torch.nearest_level`).
Values are (groups, count): each row has its own scale and zero point, (groups). Everything is float32, codes too; see `pack` for bytes.
"""

import torch

from limbeck.core.grids import Grid
from limbeck.quantization.grids_torch import nearest_level

SMALLEST = 1e-12  # a scale never falls below it


def quantize(
    x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, grid: Grid
) -> torch.Tensor:
    """Codes as float32 integers; `scale` and `zero_point` broadcast against `x`."""
    return (nearest_level(x / scale, grid) + zero_point).clamp(grid.low, grid.high)


def dequantize(codes: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor) -> torch.Tensor:
    """The values that codes stand for."""
    return (codes - zero_point) * scale


def fit_interval(
    low: torch.Tensor, high: torch.Tensor, grid: Grid
) -> tuple[torch.Tensor, torch.Tensor]:
    """(scale, zero_point) by which the grid covers [low, high] of each group; zero is on the grid, or between the two levels of `binary`."""
    low, high = low.clamp_max(0), high.clamp_min(0)
    if grid.symmetric:
        scale = torch.maximum(low / grid.low, high / grid.high)
        return scale.clamp_min(SMALLEST), torch.zeros_like(scale)
    levels = grid.high - grid.low
    scale = (high / levels - low / levels).clamp_min(SMALLEST)
    return scale, (grid.low - torch.round(low / scale)).clamp(grid.low, grid.high)


def squared_error(
    x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, grid: Grid
) -> torch.Tensor:
    """(groups) mean squared error of each row of `x` (groups, count)."""
    scale, zero_point = scale.unsqueeze(1), zero_point.unsqueeze(1)
    return (
        (dequantize(quantize(x, scale, zero_point, grid), scale, zero_point) - x).square().mean(1)
    )
