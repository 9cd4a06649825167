"""Do probabilities mean what they say? Of answers given with 80 %, are 80 % right?

    ECE    sum over bins of (count / all) |mean probability - share right|, the bins of equal mass:
           as many answers in each (Nixon et al., 2019, arXiv 1904.01685, section 3); 15 bins, fewer
           where a bin would have less than 20 answers
    NLL    the mean of -log p(label), in nats a unit

An ECE is above 0 by chance even where every probability is right, the more so the fewer rows there
are. `perfect` simulates that: labels are drawn from the probabilities themselves, and an ECE up to
the 95th percentile of these is none that the rows can show.

What is compared: of one label, or a tag, the probability of what is answered with whether it is
right; of several labels the probability of each with whether the row has it. Shapes: M such pairs,
N rows, B bins, R resamples.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from limbeck.evaluation.bootstrap import resample, told_interval
from limbeck.evaluation.decisions.decision import Decision
from limbeck.evaluation.scores import mean_nats
from limbeck.tasks import Scored
from limbeck.tasks.likelihood import is_known
from limbeck.tasks.types import Array

BINS = 15
FEWEST_IN_BIN = 20
RESAMPLES = 500
DRAWS = 1000
# Numbers that one part of a simulation holds: 40 MB.
AT_ONCE = 5_000_000
# Random numbers that a simulation may take at most, about three seconds of them.
MOST_RANDOM = 300_000_000


@dataclass(frozen=True)
class Pairs:
    """Probabilities `p` (M), whether what they are of holds, `hit` (M), and each one's `row` (M) of
    `num_rows`."""

    p: Array
    hit: Array
    row: Array
    num_rows: int

    @cached_property
    def order(self) -> Array:
        """(M) from the least probability to the largest."""
        # Stable, so that equal probabilities fall into the same bins everywhere.
        return np.argsort(self.p, kind="stable")

    @cached_property
    def starts(self) -> Array:
        """(B) where each bin begins in that order."""
        size = len(self.p)
        bins = min(BINS, max(1, size // FEWEST_IN_BIN))
        return np.arange(bins) * size // bins

    def sums(self, values: Array) -> Array:
        """(..., B) the sums of values (..., M) in each bin."""
        return np.add.reduceat(values[..., self.order], self.starts, axis=-1)

    @property
    def ece(self) -> float:
        """The expected calibration error, in [0, 1]."""
        gaps = self.sums(self.p) - self.sums(self.hit.astype(np.float64))
        return float(np.abs(gaps).sum() / len(self.p))


def pairs_of(scored: Scored, decision: Decision) -> Pairs:
    """What is compared, of answers whose label is known; `scored`: the artifact's logits."""
    p = decision.probabilities(scored.logits)
    known = is_known(scored.labels)
    num_rows = len(scored.offsets) - 1
    row_of_unit = np.repeat(np.arange(num_rows), np.diff(scored.offsets))
    if decision.likelihood == "bernoulli":
        row = np.broadcast_to(row_of_unit[:, None], p.shape)
        return Pairs(p[known], scored.labels[known] > 0, row[known], num_rows)
    # By costs the answer need not be the most probable label; its own probability counts.
    decided = decision.scored(scored).decided
    answered = p.argmax(1) if decided is None else decided
    of_answer = np.take_along_axis(p, answered[:, None], 1)[:, 0]
    hit = answered == scored.labels
    return Pairs(of_answer[known], hit[known], row_of_unit[known], num_rows)


def interval_of_ece(pairs: Pairs) -> list[float] | None:
    """The 95 % interval of the ECE by resampled rows (sentences when tagging), within the bins of
    all rows.

    A resample is noisier than the rows, and noise makes an ECE larger: what resamples have more
    than the rows, on the average, is taken off again (Efron and Tibshirani, 1993, chapter 10).
    """
    # 1. What each row adds to the gap of each bin, so that a resample is one product.
    bins = len(pairs.starts)
    bin_in_order = np.searchsorted(pairs.starts, np.arange(len(pairs.p)), side="right") - 1
    cell = pairs.row[pairs.order] * bins + bin_in_order
    gaps = (pairs.p - pairs.hit)[pairs.order]
    by_row = np.bincount(cell, gaps, minlength=pairs.num_rows * bins)
    # 2. A resample holds as many rows, and another number of words.
    counts = np.bincount(pairs.row, minlength=pairs.num_rows)
    weights = resample(pairs.num_rows, RESAMPLES)
    total = np.maximum(weights @ counts, 1)
    errors = np.abs(weights @ by_row.reshape(pairs.num_rows, bins)).sum(1)
    drawn = errors / total
    # No ECE is below 0.
    return told_interval(np.maximum(drawn - (drawn.mean() - pairs.ece), 0))


def perfect(pairs: Pairs, level: float = 0.95) -> float:
    """What the ECE of probabilities that are all right does not exceed, on these rows, in `level`
    of all cases; units are taken as independent."""
    generator = np.random.default_rng(0)
    size = len(pairs.p)
    draws = max(100, min(DRAWS, MOST_RANDOM // size))
    expected = pairs.sums(pairs.p)
    simulated = []
    part = max(1, AT_ONCE // size)
    for start in range(0, draws, part):
        # A part of the draws at a time, for memory.
        shape = (min(part, draws - start), size)
        hits = generator.random(shape) < pairs.p
        gaps = pairs.sums(hits.astype(np.float64)) - expected
        simulated.append(np.abs(gaps).sum(1) / size)
    return float(np.quantile(np.concatenate(simulated), level))


def diagram(pairs: Pairs) -> list[dict[str, float]]:
    """The reliability diagram: of each bin the mean probability, the share that holds, and how many
    answers it has."""
    counts = np.diff(np.append(pairs.starts, len(pairs.p)))
    means = pairs.sums(pairs.p) / counts
    shares = pairs.sums(pairs.hit.astype(np.float64)) / counts
    return [
        {"probability": float(mean), "share": float(share), "count": int(count)}
        for mean, share, count in zip(means, shares, counts, strict=True)
    ]


def calibration(scored: Scored, decision: Decision) -> dict[str, object] | None:
    """ECE with its interval, what a perfectly calibrated model has on these rows, NLL and the
    diagram, ready for JSON; None where no label is known."""
    pairs = pairs_of(scored, decision)
    if not len(pairs.p):
        return None
    return {
        "ece": pairs.ece,
        "ece_ci95": interval_of_ece(pairs),
        "perfect_p95": perfect(pairs),
        "nll_nats": mean_nats(decision.fitted(scored.logits), scored.labels, decision.likelihood),
        "bins": diagram(pairs),
    }
