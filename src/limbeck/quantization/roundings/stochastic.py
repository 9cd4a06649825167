"""Up or down by chance, in training: floor(t) + 1 with the probability t - floor(t), so that

    E[round(t)] = t

(Gupta et al., 2015, arXiv 1502.02551, section 3.1). The codes that are kept, and those of an
evaluation, are the nearest levels.

The draws come from torch's generator, which training seeds at every step: a resumed training draws
the same. It is the generator of the device that the weights lie on, so that another kind of device
draws others: numbers drawn on the CPU would have to be copied to a GPU in every step, one for each
weight, and the GPU would wait for them.
"""

from typing import ClassVar

import torch
from torch import Tensor

from limbeck.core.grids import Grid
from limbeck.quantization.grids_torch import nearest_level
from limbeck.quantization.roundings import INTEGERS


class Stochastic:
    """Draws in training alone."""

    formats: ClassVar[tuple[str, ...]] = INTEGERS

    def round(
        self,
        steps: Tensor,
        grid: Grid,
        *,
        training: bool,
    ) -> Tensor:
        """Levels in the shape of `steps`: drawn in training, else the nearest."""
        if not training:
            return nearest_level(steps, grid)
        low = steps.floor()
        # Not floor(t + u): in float32 that sum rounds, and some integers would not stay.
        is_up = torch.rand_like(steps) < steps - low
        return low + is_up
