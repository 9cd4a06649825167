"""The interval, shrunk from the extremes in steps, that loses least of the distribution:

    argmin over a in (0, 1] of KL(P || Q_a)

(Migacz, "8-bit inference with TensorRT", GTC 2017; Wu et al., 2020, arXiv 2004.09602, section 4.1).

P is the histogram of the values, with all that lies outside what the grid covers moved to the
outermost bins inside. Q_a is what is left of the values inside once they are rounded: the values of
each code, spread evenly over those of its bins that held any.

Deviations:

- Migacz shrinks the one bound of |x|. Here the ends of an affine grid are shrunk one after the
  other, the upper first: they need not lie alike.
- Migacz ends with 128 bins and cuts the histogram at each. Here 40 shares of the interval are
  tried, evenly spaced, so that all groups are searched at once.
- A group of few values has fewer bins than codes, where rounding would seem to lose nothing, and
  keeps its extremes. That is so for a weight's channel: the search suits activations.
- A floating grid keeps its extremes: its small values gain nothing when large ones are cut.

Shapes: G groups, N values, B bins.
"""

import torch
from torch import Tensor

from limbeck.models.precision import float64_device, in_float64
from limbeck.quantization.affine import fit_interval, quantize
from limbeck.quantization.ranges import Fit, Sample

# Bins of the histogram, as many as Migacz has.
BINS = 2048

# On average at least: with fewer, chance would decide which bins are empty, and shrink intervals.
VALUES_PER_BIN = 32

# Intervals that are tried, for each end of an affine grid.
STEPS = 40

# Which ends an interval is shrunk at, the lower and the upper; one round for each.
TOGETHER = [[1.0, 1.0]]
ONE_BY_ONE = [[0.0, 1.0], [1.0, 0.0]]

# Nats that shrinking must save: a smaller difference is the rounding of sums.
LEAST_GAIN = 1e-6

# A share of the values, for log q: an outermost bin may be empty before what lies outside is moved
# there.
SMALLEST_SHARE = 1e-9


class Entropy(Sample):
    """A search over STEPS shrunk intervals for each group, or as many for each end."""

    def fit(self) -> Fit:
        """(scale, zero point), each (G)."""
        low, high = self.extremes()
        if self.grid.is_floating:
            return fit_interval(low, high, self.grid)
        # All of the search where float64 is, so that a device without it is not asked in between.
        device = low.device
        home = float64_device(device)
        low = low.to(home)
        high = high.to(home)
        counts, centres = histogram(self.values().to(home), low, high)
        ends = torch.stack([low, high])
        best = torch.full_like(low, torch.inf)
        # A symmetric grid's ends move together, an affine one's one after the other.
        moves = TOGETHER if self.grid.symmetric else ONE_BY_ONE
        for move in moves:
            start = ends
            moving = torch.tensor(move).to(ends.device)[:, None]
            for step in range(STEPS):
                shrunk = start * (1 - step / STEPS * moving)
                nats = self.divergence_of(shrunk, counts, centres)
                is_better = nats < best - LEAST_GAIN
                best = torch.where(is_better, nats, best)
                ends = torch.where(is_better, shrunk, ends)
        ends = ends.to(device)
        return fit_interval(ends[0], ends[1], self.grid)

    def divergence_of(
        self,
        ends: Tensor,
        counts: Tensor,
        centres: Tensor,
    ) -> Tensor:
        """(G) nats that are lost where the grid covers the interval between `ends` (2, G)."""
        grid = self.grid
        scale, zero = fit_interval(ends[0], ends[1], grid)
        codes = quantize(centres, scale.unsqueeze(1), zero.unsqueeze(1), grid)
        # The grid covers more than was asked for: zero, and whole steps.
        covered = ((grid.low - zero) * scale, (grid.high - zero) * scale)
        levels = grid.high - grid.low
        return divergence(counts, centres, covered, codes - grid.low, levels)


def histogram(
    values: Tensor,
    low: Tensor,
    high: Tensor,
) -> tuple[Tensor, Tensor]:
    """(counts, centres), each (G, B) float64, of values (G, N) between `low` and `high` (G)."""
    bins = max(1, min(BINS, values.shape[1] // VALUES_PER_BIN))
    low = in_float64(low).unsqueeze(1)
    high = in_float64(high).unsqueeze(1)
    # A group of equal values has no width to divide by.
    smallest = torch.finfo(torch.float32).tiny
    width = ((high - low) / bins).clamp_min(smallest)
    position = (in_float64(values) - low) / width
    # The highest value is the upper edge of the last bin.
    index = position.long().clamp(0, bins - 1)
    ones = torch.ones_like(position)
    counts = low.new_zeros(len(values), bins)
    counts = counts.scatter_add(1, index, ones)
    middles = torch.arange(bins, device=values.device) + 0.5
    return counts, low + middles * width


def divergence(
    counts: Tensor,
    centres: Tensor,
    interval: tuple[Tensor, Tensor],
    codes: Tensor,
    levels: int,
) -> Tensor:
    """(G) KL(P || Q), in nats, of a histogram clipped to an interval and the values after rounding.

    Args:
        counts: (G, B) values in each bin.
        centres: (G, B) of the bins.
        interval: the lowest and the highest value that the grid covers, each (G).
        codes: (G, B) what each centre is rounded to, counted from 0.
        levels: the largest code.

    Returns:
        Infinity where fewer bins than `levels` lie inside: rounding would seem to lose nothing.
    """
    bins = counts.shape[1]
    low, high = interval
    is_above = centres >= low.unsqueeze(1)
    is_inside = is_above & (centres <= high.unsqueeze(1))

    # 1. P: what lies outside counts for the outermost bins inside.
    inside = is_inside.long()
    first = inside.argmax(1, keepdim=True)
    last = bins - 1 - inside.flip(1).argmax(1, keepdim=True)
    own_bin = torch.arange(bins, device=counts.device).expand_as(codes)
    bin_inside = torch.minimum(torch.maximum(own_bin, first), last)
    clipped = torch.zeros_like(counts).scatter_add(1, bin_inside, counts)
    p = clipped / clipped.sum(1, keepdim=True)

    # 2. Q: the values of a code, spread over its bins that held any.
    kept = counts * is_inside
    is_filled = (kept > 0).to(counts.dtype)
    index = codes.long()
    no_codes = counts.new_zeros(len(counts), levels + 1)
    values_of_code = no_codes.scatter_add(1, index, kept)
    bins_of_code = no_codes.scatter_add(1, index, is_filled)
    share = values_of_code / bins_of_code.clamp_min(1)
    rounded = share.gather(1, index) * is_filled
    q = rounded / rounded.sum(1, keepdim=True).clamp_min(1)
    q = q.clamp_min(SMALLEST_SHARE)

    # 3. An empty bin of P adds nothing, where the logarithm would be infinite.
    of_bin = torch.where(p > 0, p * (p / q).log(), 0)
    has_few_bins = inside.sum(1) < levels
    return torch.where(has_few_bins, torch.inf, of_bin.sum(1))
