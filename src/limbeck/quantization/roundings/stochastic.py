"""Up or down by chance, in training: floor(t) + 1 with the probability t - floor(t), so that E[round(t)] = t (Gupta et al., 2015, arXiv 1502.02551,
section 3.1). In eval mode, and in the codes that are kept, the nearest level.

The draws come from torch's generator, which training seeds at every step: a resumed training draws the same.
"""

from typing import ClassVar

import torch

from limbeck.core.grids import Grid
from limbeck.quantization.grids_torch import nearest_level
from limbeck.quantization.roundings import INTEGERS


class Stochastic:
    """No keys."""

    formats: ClassVar[tuple[str, ...]] = INTEGERS

    def round(self, steps: torch.Tensor, grid: Grid, *, training: bool) -> torch.Tensor:
        """Levels of the shape of `steps`."""
        if not training:
            return nearest_level(steps, grid)
        low = steps.floor()
        return low + (
            torch.rand_like(steps) < steps - low
        )  # not floor(t + u): in float32 that leaves some integers
