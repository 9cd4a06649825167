"""The interval, shrunk from the extremes in steps, that loses least of the distribution: argmin over a in (0, 1] of KL(P || Q_a)
(Migacz, "8-bit inference with TensorRT", GTC 2017; Wu et al., 2020, arXiv 2004.09602, section 4.1).

P is the histogram of the values with all that lies outside what the grid covers moved to the outermost bins inside. Q_a is what
is left of the values inside once they are rounded: the values of each code, spread evenly over those of its bins that held any. The ends of an affine
grid are shrunk one after the other, the upper first. It suits activations: a weight's channel has too few values for a histogram, and keeps its
extremes. So does a floating grid, whose small values gain nothing when large ones are cut.
"""

import torch

from limbeck.quantization.affine import fit_interval, quantize
from limbeck.quantization.ranges import Sample

BINS = 2048
VALUES_A_BIN = 32  # on average at least, or chance would shrink; with a bin a code or fewer, rounding loses nothing
STEPS = 40
WORTH = 1e-6  # nats that shrinking must save: less is the rounding of sums
SMALLEST = 1e-9  # a share of the values; an outermost bin may be empty before what lies outside is moved there


class Entropy(Sample):
    """A search over STEPS shrunk intervals for each row, or as many for each end."""

    def fit(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(scale, zero_point), each (groups)."""
        low, high = self.extremes()
        if self.grid.is_floating:
            return fit_interval(low, high, self.grid)
        counts, centres = histogram(self.values(), low, high)
        ends, best = torch.stack([low, high]), torch.full_like(low, torch.inf)
        for moved in ([1.0, 1.0],) if self.grid.symmetric else ([0.0, 1.0], [1.0, 0.0]):
            start = ends
            for step in range(STEPS):
                shrunk = start * (1 - step / STEPS * torch.tensor(moved)[:, None])
                scale, zero = fit_interval(shrunk[0], shrunk[1], self.grid)
                codes = quantize(centres, scale[:, None], zero[:, None], self.grid) - self.grid.low
                found = divergence(
                    counts,
                    centres,
                    ((self.grid.low - zero) * scale, (self.grid.high - zero) * scale),
                    codes,
                    self.grid.high - self.grid.low,
                )
                better = found < best - WORTH
                ends, best = torch.where(better, shrunk, ends), torch.where(better, found, best)
        return fit_interval(ends[0], ends[1], self.grid)


def histogram(
    values: torch.Tensor, low: torch.Tensor, high: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(counts, centres), each (groups, bins) float64, of values (groups, count) between `low` and `high` (groups)."""
    bins = max(1, min(BINS, values.shape[1] // VALUES_A_BIN))
    low, width = (
        low.double()[:, None],
        ((high.double() - low.double()) / bins).clamp_min(torch.finfo(torch.float32).tiny)[:, None],
    )
    place = ((values.double() - low) / width).long().clamp(0, bins - 1)
    counts = torch.zeros(len(values), bins, dtype=torch.float64).scatter_add(
        1, place, torch.ones_like(place, dtype=torch.float64)
    )
    return counts, low + (torch.arange(bins) + 0.5) * width


def divergence(
    counts: torch.Tensor,
    centres: torch.Tensor,
    interval: tuple[torch.Tensor, torch.Tensor],
    codes: torch.Tensor,
    levels: int,
) -> torch.Tensor:
    """(groups) KL(P || Q) of a histogram clipped to an interval and the same values after rounding; infinite with fewer bins inside than `levels`,
    where rounding would seem to lose nothing. `codes` (groups, bins) count from 0."""
    bins = counts.shape[1]
    inside = (centres >= interval[0][:, None]) & (centres <= interval[1][:, None])
    first, last = (
        inside.long().argmax(1, keepdim=True),
        bins - 1 - inside.flip(1).long().argmax(1, keepdim=True),
    )
    places = torch.minimum(torch.maximum(torch.arange(bins).expand_as(codes), first), last)
    kept = counts * inside
    clipped = torch.zeros_like(counts).scatter_add(1, places, counts)
    index, nonempty = codes.long(), (kept > 0).double()
    total = torch.zeros(len(counts), levels + 1, dtype=torch.float64).scatter_add(1, index, kept)
    spread = torch.zeros_like(total).scatter_add(1, index, nonempty)
    rounded = (total / spread.clamp_min(1)).gather(1, index) * nonempty
    p = clipped / clipped.sum(1, keepdim=True)
    q = (rounded / rounded.sum(1, keepdim=True).clamp_min(1)).clamp_min(SMALLEST)
    return torch.where(
        inside.sum(1) < levels, torch.inf, torch.where(p > 0, p * (p / q).log(), 0).sum(1)
    )
