"""A promise about the rows that a model answers: at most a share of them is wrong.

Rows below a threshold of confidence are not answered. Which threshold is loose enough and still
keeps the promise is tested on rows that nothing was fitted on, by Learn then Test's fixed sequence
(Angelopoulos et al., 2021, arXiv 2110.01052, section 4.2 and algorithm 4, split fixed sequence):

1. On the tuning half candidates are laid out, and the one with the strongest evidence is where the
   sequence begins. This half was seen in training, so it only orders, and proves nothing.
2. On the other half each candidate, from there to looser ones, is tested by the exact binomial:
   p = P(X <= errors), X of the answered rows, were `max_error` the true share. The sequence ends at
   the first p above 1 - confidence; the last one before it is the threshold.

Each candidate is tested at the full level, and the threshold is one that errs more than promised
with a probability of at most 1 - confidence. Interval ends are Clopper and Pearson's (1934).

Shapes: N rows. A row's confidence is the probability that all its decisions are right.
"""

import math
from dataclasses import dataclass

import numpy as np

from limbeck.tasks.types import Array

MOST_CANDIDATES = 200
# Halvings of [0, 1]: beyond the precision of a float.
HALVINGS = 60


@dataclass(frozen=True)
class Judged:
    """Rows whose answers are known to be right or wrong: `confidence` (N) and `wrong` (N; bool)."""

    confidence: Array
    wrong: Array

    def answered(self, threshold: float) -> tuple[int, int]:
        """How many rows are answered at a threshold, and how many of these wrongly."""
        is_answered = self.confidence >= threshold
        return int(is_answered.sum()), int(self.wrong[is_answered].sum())


@dataclass(frozen=True)
class Promise:
    """What is promised of answered rows, and on what it stands.

    threshold: of confidence, from which on rows are answered; None where nothing can be promised.
    rows, answered, errors: of the half that the promise stands on.
    upper: what the true share of errors does not exceed, with the confidence.
    needed: how many answered rows would do, were none of them wrong.
    """

    max_error: float
    confidence: float
    threshold: float | None
    rows: int
    answered: int
    errors: int
    upper: float
    needed: int


def promise(tuning: Judged, held_out: Judged, max_error: float, confidence: float) -> Promise:
    """The loosest threshold whose promise is proven on `held_out`; None where none is."""
    level = 1 - confidence
    found: float | None = None
    # Where nothing is promised, these say how near it was.
    seen = (0, 0)
    for threshold in candidates(tuning, max_error):
        answered, errors = held_out.answered(threshold)
        if found is None:
            seen = answered, errors
        # The first failure ends the sequence: that is what lets each test have the whole level.
        if binomial_cdf(errors, answered, max_error) > level:
            break
        found, seen = threshold, (answered, errors)
    return Promise(
        max_error=max_error,
        confidence=confidence,
        threshold=found,
        rows=len(held_out.wrong),
        answered=seen[0],
        errors=seen[1],
        upper=upper_bound(seen[1], seen[0], confidence),
        needed=rows_needed(max_error, confidence),
    )


def candidates(tuning: Judged, max_error: float) -> list[float]:
    """The thresholds to test, from the one with the strongest evidence to the loosest."""
    # Nothing says where to begin, so that only the one that answers all is tried.
    if not len(tuning.confidence):
        return [0.0]
    falling = np.argsort(-tuning.confidence, kind="stable")
    levels = tuning.confidence[falling]
    errors = tuning.wrong[falling].cumsum()
    # At a tie all rows of one confidence are answered, or none.
    last = np.flatnonzero(np.append(levels[1:] != levels[:-1], True))
    chosen = last[np.unique(np.linspace(0, len(last) - 1, MOST_CANDIDATES).astype(int))]
    evidence = [_evidence(int(errors[index]), int(index) + 1, max_error) for index in chosen]
    start = int(np.argmin(evidence))
    thresholds = levels[chosen[start:]].tolist()
    # The loosest answers every row, those too that are less sure than any here.
    return [*thresholds[:-1], 0.0]


def _evidence(errors: int, answered: int, max_error: float) -> float:
    """The p value of a candidate, 1 where it errs as often as it may: no such one is the best."""
    if errors >= max_error * answered:
        return 1.0
    return binomial_cdf(errors, answered, max_error)


def rows_needed(max_error: float, confidence: float) -> int:
    """How many answered rows, none of them wrong, prove it: (1 - max_error)^n <= 1 - confidence."""
    # The last bits of both logarithms must not ask for a row more.
    return math.ceil(math.log(1 - confidence) / math.log1p(-max_error) - 1e-9)


def binomial_cdf(most: int, trials: int, share: float) -> float:
    """P(X <= most) of a binomial count; 1 without trials."""
    # The ends, of which logarithms say nothing.
    if most >= trials:
        return 1.0
    if most < 0 or share >= 1:
        return 0.0
    if share <= 0:
        return 1.0
    counts = np.arange(most + 1)
    # log C(n, k) as a sum of log((n - k + 1) / k): no factorial is too large.
    ratios = np.log((trials - counts[1:] + 1) / counts[1:])
    log_choose = np.concatenate([[0.0], np.cumsum(ratios)])
    log_p = log_choose + counts * math.log(share) + (trials - counts) * math.log1p(-share)
    return float(min(1.0, np.exp(log_p).sum()))


def upper_bound(errors: int, rows: int, confidence: float) -> float:
    """The upper end, one-sided, of a share seen as `errors` of `rows`; 1 without rows."""
    if errors >= rows:
        return 1.0
    return _where_falls_to(1 - confidence, errors, rows)


def lower_bound(errors: int, rows: int, confidence: float) -> float:
    """The lower end, one-sided; 0 where no error was seen."""
    if errors == 0:
        return 0.0
    # P(X >= errors) = 1 - P(X <= errors - 1) is the level.
    return _where_falls_to(confidence, errors - 1, rows)


def _where_falls_to(level: float, most: int, rows: int) -> float:
    """The share at which P(X <= most), which falls as the share rises, is `level`."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if binomial_cdf(most, rows, middle) > level:
            low = middle
        else:
            high = middle
    return (low + high) / 2
