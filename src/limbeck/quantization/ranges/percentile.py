"""The grid covers all but the outermost 0.01 % of the values on either side.

(Wu et al., 2020, arXiv 2004.09602, section 4.1, whose best percentiles are 99.99 % and 99.999 %.)
"""

from limbeck.quantization.affine import fit_interval
from limbeck.quantization.ranges import Fit, Sample

# The share of the values that is left out at either end.
OUTSIDE = 1e-4


class Percentile(Sample):
    """Quantiles of the sampled values; a group of fewer than 1 / OUTSIDE keeps its extremes."""

    def fit(self) -> Fit:
        """(scale, zero point), each (G)."""
        # Refuses what is not finite, which the sample may have passed over.
        self.extremes()
        values = self.values()
        count = values.shape[1]
        cut = int(OUTSIDE * count)
        low = values[:, cut]
        high = values[:, count - 1 - cut]
        return fit_interval(low, high, self.grid)
