"""The nearest level, half to even as ONNX QuantizeLinear rounds (Jacob et al., 2018, arXiv 1712.05877, equation 1).

The error is at most scale / 2 inside the range.
"""

import torch

from limbeck.core.grids import Grid
from limbeck.quantization.grids_torch import nearest_level


class Nearest:
    """No keys."""

    def round(self, steps: torch.Tensor, grid: Grid, *, training: bool) -> torch.Tensor:
        """Levels of the shape of `steps`."""
        return nearest_level(steps, grid)
