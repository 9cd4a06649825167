"""The grid covers everything observed:

    scale = (max - min) / (highest level - lowest level)

(Jacob et al., 2018, arXiv 1712.05877, section 3.1). On a symmetric grid the larger of the two ends
decides, and the zero point is 0.
"""

from limbeck.quantization.affine import fit_interval
from limbeck.quantization.ranges import Fit, Sample


class Minmax(Sample):
    """Exact extremes over all batches."""

    def fit(self) -> Fit:
        """(scale, zero point), each (G)."""
        low, high = self.extremes()
        return fit_interval(low, high, self.grid)
