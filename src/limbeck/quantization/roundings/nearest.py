"""The nearest level, of two as near the even one, as ONNX QuantizeLinear rounds.

(Jacob et al., 2018, arXiv 1712.05877, equation 1.) The error is at most scale / 2 inside the range.
"""

from torch import Tensor

from limbeck.core.grids import Grid
from limbeck.quantization.grids_torch import nearest_level


class Nearest:
    """Rounds in training and evaluation alike."""

    def round(
        self,
        steps: Tensor,
        grid: Grid,
        *,
        training: bool,
    ) -> Tensor:
        """Levels in the shape of `steps`; in training the same."""
        return nearest_level(steps, grid)
