"""The grid covers everything observed: scale = (max - min) / (high - low) (Jacob et al., 2018, arXiv 1712.05877, section 3.1)."""

from typing import ClassVar

import torch

from limbeck.quant.affine import fit_interval
from limbeck.quant.formats import Grid
from limbeck.ranges import Sample


class Minmax:
    """Exact extremes over all batches."""

    learned: ClassVar[bool] = False
    by_batch: ClassVar[bool] = False

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.sample = Sample()

    def observe(self, values: torch.Tensor) -> None:
        """One batch, (groups, count)."""
        self.sample.observe(values)

    def fit(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(scale, zero_point), each (groups)."""
        return fit_interval(*self.sample.extremes(), self.grid)
