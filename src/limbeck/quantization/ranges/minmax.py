"""The grid covers everything observed: scale = (max - min) / (high - low) (Jacob et al., 2018, arXiv 1712.05877, section 3.1)."""

import torch

from limbeck.quantization.affine import fit_interval
from limbeck.quantization.ranges import Sample


class Minmax(Sample):
    """Exact extremes over all batches."""

    def fit(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(scale, zero_point), each (groups)."""
        return fit_interval(*self.extremes(), self.grid)
