"""A difference of two proportions of the same rows: the accuracy of two models on one test split.

Tango's score interval and test (1998, Statistics in Medicine 17, 891-908). The percentiles of a
bootstrap claim [0, 0] where no row was answered otherwise; here no change in n rows still allows a
drop of z^2 / (n + z^2), and the levels hold from a few rows on.

Of n rows `lost` were right before and wrong after, `won` the other way round; rows that both
answer alike say nothing of the difference but their number.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

# The metric that is the share of right rows.
METRIC = "accuracy"
# Halvings of an interval of 2: beyond the precision of a float.
HALVINGS = 60


@dataclass(frozen=True)
class Changes:
    """Of `rows`, how many only the first model answers rightly (`lost`), and only the second
    (`won`)."""

    lost: int
    won: int
    rows: int

    def __post_init__(self) -> None:
        """Raises ValueError where more rows changed than there are."""
        if min(self.lost, self.won) < 0 or self.lost + self.won > self.rows or self.rows < 1:
            raise ValueError(f"{self.lost} lost and {self.won} won of {self.rows} rows")

    @property
    def swapped(self) -> "Changes":
        """With the second model first."""
        return Changes(lost=self.won, won=self.lost, rows=self.rows)


def changes_of(was_right: np.ndarray, is_right: np.ndarray) -> Changes:
    """From whether each row (N; bool) is right by the first model, and by the second."""
    lost = int(np.sum(was_right & ~is_right))
    return Changes(lost, int(np.sum(is_right & ~was_right)), len(was_right))


def score(seen: Changes, drop: float) -> float:
    """Tango's statistic of the drop that was seen against a true one; about standard normal.

    It falls as `drop` rises from -1 to 1.
    """
    lost, won, rows = seen.lost, seen.won, seen.rows
    difference = lost - won - rows * drop
    # The likeliest share of rows that are won, were `drop` true: a root of a quadratic.
    a = 2 * rows
    b = (2 * rows - lost + won) * drop - lost - won
    c = -won * drop * (1 - drop)
    share = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = rows * (2 * share + drop * (1 - drop))
    if variance <= 0:
        # At the ends of what a drop can be nothing varies: what was seen agrees or never comes.
        return (
            0.0
            if math.isclose(difference, 0, abs_tol=1e-9)
            else math.copysign(math.inf, difference)
        )
    return difference / math.sqrt(variance)


def interval(seen: Changes, level: float = 0.95) -> list[float]:
    """The two ends of the two-sided interval of the drop, in [-1, 1]."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    middle = (seen.lost - seen.won) / seen.rows
    return [_crossing(seen, z, -1.0, middle), _crossing(seen, -z, middle, 1.0)]


def _crossing(seen: Changes, z: float, low: float, high: float) -> float:
    """Where the statistic, which falls, is z between two drops."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if score(seen, middle) > z:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def p_of_larger_drop(seen: Changes, max_drop: float) -> float:
    """The p value of "the true drop is `max_drop` or more" (one-sided)."""
    return NormalDist().cdf(score(seen, max_drop)) if max_drop < 1 else 0.0


def rows_to_prove(seen: Changes, max_drop: float, alpha: float, power: float = 0.8) -> int:
    """How many rows would rule out a drop of `max_drop`, with this power, were there none and as
    many answers changed as were seen.

    Where none changed, as many as rule it out without a change.
    """
    level, hit = NormalDist().inv_cdf(1 - alpha), NormalDist().inv_cdf(power)
    share = (seen.lost + seen.won) / seen.rows
    without_change = level**2 * (1 - max_drop) / max_drop
    return math.ceil(max(without_change, (level + hit) ** 2 * share / max_drop**2))
