"""Intervals and tests of any metric that hold from a few rows on, also where nothing varies.

A metric moves by the mean of what each row adds to it, its influence l (`influence.py`). As in
empirical likelihood (Owen, 1988, Biometrika 75, 237-249), a true value that is d above what was
seen gives the rows other weights: the likeliest among those that move the metric by d,

    w_i ~ 1 / (1 - m l_i),   sum w_i l_i = d,   1 / m above the largest l

The weights may also be on a change that no row shows yet: it moves the metric by L ("jump"), and
has weight as soon as the likeliest weights can move the metric no further by those seen. With the
variance s^2 = sum w_i (l_i - d)^2 under these weights, d is in the interval where

    d <= t s / sqrt(n)      (t: Student's quantile, n - 1 degrees of freedom)

This is a score test: the variance is that of the hypothesis, not of what was seen. For a share of
right rows it is Wilson's interval (1927), for a difference of two such shares Tango's (1998), both
with t for z; no change in n rows still allows L t^2 / (n + t^2). The percentiles of a bootstrap,
BCa's too, cover such a drop in 1 of 8 cases of 30 rows (docs/log.md).

Where one row counts as many (copies of an input, a patient's images), the hypothesis may take the
weight off the heaviest one, and its variance with it: one text that stood 60 times would prove what
it moves. There s^2 is no smaller than of equal weights.

Of a label with few rows L is another: `seldom.py` says what the metric would be with t^2 rows more
of a kind that no row shows. What the largest of these moves beyond the jump of any row is added as
seeds are (root of the sum of squares); the others are not, for the likelihood of what was seen
falls with each.

What seeds add is recovered from two intervals (Zou and Donner, 2008, Statistics in Medicine 27,
1693-1702): the root of the sum of the squares of both half-widths, that of S seeds by Student's t
with S - 1 degrees of freedom. Rows that seeds share count in both, which makes it wider, not
narrower.

Shapes: G rows, or blocks of rows where there are many.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from limbeck.evaluation.bootstrap import ALPHA
from limbeck.evaluation.seldom import Unseen
from limbeck.evaluation.student_t import quantile

# Halvings of a search: beyond the precision of a float.
HALVINGS = 50
# The likeliest weights are infinite at 1, where all of it is on the largest influence.
NEARLY_ONE = 1 - 1e-9


@dataclass(frozen=True)
class Estimate:
    """A metric, or a difference of two, and what says how sure it is.

    `value`: as it was seen. `rows`: (G) the influence of each row or block, about their mean.
    `rise`, `fall`: how far one change that was not seen would move a row's influence, at least 0.
    `num_rows`: N, at least G. `seeds`: the value by each seed; nothing where there is one alone.
    `unseen`: what no row shows of seldom labels. `are_uneven`: whether a row may count as many.
    """

    value: float
    rows: np.ndarray
    rise: float
    fall: float
    num_rows: int
    seeds: Sequence[float] = ()
    unseen: Sequence[Unseen] = ()
    are_uneven: bool = False

    @property
    def mirrored(self) -> "Estimate":
        """The estimate of the negative value."""
        seeds = [-value for value in self.seeds]
        return Estimate(
            value=-self.value,
            rows=-self.rows,
            rise=self.fall,
            fall=self.rise,
            num_rows=self.num_rows,
            seeds=seeds,
            unseen=[replace(each, moves=-each.moves) for each in self.unseen],
            are_uneven=self.are_uneven,
        )

    @property
    def error(self) -> float:
        """The standard error that the rows give."""
        return float(np.sqrt(np.mean(self.rows**2) / len(self.rows)))

    def interval(self, level: float = 1 - ALPHA) -> list[float]:
        """The two ends of the two-sided interval."""
        outside = (1 - level) / 2
        return [-self.mirrored.upper_end(outside), self.upper_end(outside)]

    def upper_end(self, above: float) -> float:
        """What the true value exceeds with a probability of at most `above`, in (0, 1/2]."""
        t = quantile(above, max(1, len(self.rows) - 1))
        of_rows, of_labels = self._rise_by_rows(t), self._rise_by_labels(t)
        return self.value + math.hypot(of_rows, of_labels, self._rise_by_seeds(above))

    def p_at_least(self, value: float) -> float:
        """The p value of "the true value is `value` or more" (one-sided): the level at which the
        end of the interval meets it."""
        if value < self.value:
            return 1 - self.mirrored.p_at_least(-value)
        low, high = 0.0, 0.5
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            if self.upper_end(middle) < value:
                high = middle
            else:
                low = middle
        return high

    def rows_to_prove(self, margin: float, power: float = 0.8) -> int:
        """How many rows would rule out a true value of `margin`, with this power, were it 0 and
        the rows as those seen: the standard error falls with the root of their number.

        Where nothing varies, as many as rule it out without a change.
        """
        level, hit = NormalDist().inv_cdf(1 - ALPHA), NormalDist().inv_cdf(power)
        by_error = self.num_rows * ((level + hit) * self.error / margin) ** 2
        # A jump is in units of blocks, of which each has the influence of several rows.
        jump = self.rise * self.num_rows / len(self.rows)
        without_change = level**2 * max(0.0, jump - margin) / margin
        return math.ceil(max(by_error, without_change))

    def _rise_by_rows(self, t: float) -> float:
        """The largest rise that the rows allow at the quantile t >= 0 (module docstring)."""
        largest = max(self.rise, float(self.rows.max()))
        # Nothing varies, and no change would move the metric.
        if largest <= 0:
            return 0.0
        least = float(np.mean(self.rows**2)) if self.are_uneven else 0.0
        # 1. From the equal weights, at 0, to all weight on the largest influence, at 2: up to 1 on
        #    the rows, then on the change that none of them shows.
        low, high = 0.0, 2.0
        for _ in range(HALVINGS):
            place = (low + high) / 2
            rise, variance = self._likeliest(place, largest)
            if rise**2 * len(self.rows) <= t**2 * max(variance, least):
                low = place
            else:
                high = place
        # 2. The last place that is in the interval.
        return self._likeliest(low, largest)[0]

    def _likeliest(self, place: float, largest: float) -> tuple[float, float]:
        """(d, s^2) under the likeliest weights, at a place in [0, 2] on their way to `largest`."""
        weights = 1 / (1 - min(place, NEARLY_ONE) * self.rows / largest)
        unseen = max(0.0, place - 1)
        weights *= (1 - unseen) / weights.sum()
        mean = float(weights @ self.rows) + unseen * largest
        square = float(weights @ self.rows**2) + unseen * largest**2
        return mean, max(0.0, square - mean**2)

    def _rise_by_labels(self, t: float) -> float:
        """What one event that no row of a seldom label shows adds to the rise of any row's."""
        largest = max((each.move(t) for each in self.unseen), default=0.0)
        of_any_row = self.rise * t**2 / (len(self.rows) + t**2)
        return max(0.0, largest - of_any_row)

    def _rise_by_seeds(self, above: float) -> float:
        """Half the width of Student's interval of the mean of the seeds; 0 for one."""
        count = len(self.seeds)
        if count < 2:
            return 0.0
        error = float(np.std(self.seeds, ddof=1)) / math.sqrt(count)
        return quantile(above, count - 1) * error
