"""The grid covers all but the outermost 0.01 % of the values on either side (Wu et al., 2020, arXiv 2004.09602, section 4.1: 99.99 %)."""

import torch

from limbeck.quantization.affine import fit_interval
from limbeck.quantization.ranges import Sample

OUTSIDE = 1e-4


class Percentile(Sample):
    """Quantiles of the sampled values; a row of fewer than 1 / OUTSIDE values keeps its extremes."""

    def fit(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(scale, zero_point), each (groups)."""
        self.extremes()
        values = self.values()
        cut = int(OUTSIDE * values.shape[1])
        return fit_interval(values[:, cut], values[:, values.shape[1] - 1 - cut], self.grid)
