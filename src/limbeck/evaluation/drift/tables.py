"""Two sets of counts: are they of one population? By exact tests, from a few rows on.

If the rows of validation and of a window are exchangeable, then of the s rows in a category the
number w that stands in the window is hypergeometric, whatever the share of the category is: nothing
is estimated, so that few rows of validation make a wide test and no false one.

**One category** (Fisher, 1922): the probability of w or more, or of w or fewer. Beyond its mode the
hypergeometric falls faster than a geometric series of the first ratio r, so that a tail is at most

    P(w) / (1 - r),

which is within a few per cent where a tail is small, and never too small.

**All categories together**: the population stability index of shares p, q in the two sets,

    PSI = sum_c (q_c - p_c) ln(q_c / p_c),

each share of counts + 1/2, so that an empty category has a logarithm. It is not 0 between two draws
of one population but about (C - 1) (1/n + 1/m) (Yurdakul, 2018, Statistical Properties of
Population Stability Index): .23 for 77 labels, 1,000 rows and 500. That approximation wants large
counts. Here mean and variance are those of the exact conditional distribution, the multivariate
hypergeometric, which is that of independent binomials given their sum (Holst, 1979, Two conditional
limit theorems with applications): what the square of the sum explains is taken out. What the sum
itself explains is left in, at most 6 % of the variance, for the index is about even in it. The tail
is that of a gamma distribution of this mean and variance, by the cube root of Wilson and Hilferty
(1931), which errs to the safe side far out.

Shapes: C categories. n rows of validation have the counts N (C), m rows of a window W (C).
"""

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from limbeck.tasks.types import Array

# Added to a count before its logarithm is taken.
HALF = 0.5


def log_p_of_categories(
    of_reference: Array,
    n: int,
    of_window: Array,
    m: int,
) -> Array:
    """(C) the logarithm of the two-sided p value of each category, at most 0.

    Args:
        of_reference: (C) rows of validation in each category, of n.
        of_window: (C) rows of the window in each, of m.
    """
    together = of_reference + of_window
    ways = _log_choose(n, of_reference) + _log_choose(m, of_window)
    log_p = ways - _log_choose(n + m, together)
    # The ratio of the next probability to this one, above and below; one of both is under 1 where
    # the count is off its mode.
    others_of_reference = n - of_reference
    others_of_window = m - of_window
    above = others_of_window * of_reference
    above = above / (of_window + 1) / (others_of_reference + 1)
    below = others_of_reference * of_window
    below = below / (of_reference + 1) / (others_of_window + 1)
    ratio = np.minimum(above, below)
    is_off = ratio < 1
    rest = np.where(is_off, 1 - ratio, 1)
    bound = np.where(is_off, log_p - np.log(rest), 0)
    # Both sides are looked at.
    return np.minimum(bound + math.log(2), 0)


def stability_index(of_reference: Array, of_window: Array) -> float:
    """The population stability index of two sets of counts (C), at least 0."""
    p = _shares(of_reference, int(of_reference.sum()), len(of_reference))
    q = _shares(of_window, int(of_window.sum()), len(of_window))
    terms = _index_terms(p, q)
    return float(terms.sum())


def index_by_chance(
    of_reference: Array,
    of_window: Array,
) -> tuple[float, float]:
    """Mean and variance of the index were both sets draws from one population, given how many rows
    each category has in both together."""
    n = int(of_reference.sum())
    m = int(of_window.sum())
    together = of_reference + of_window
    share = m / (n + m)
    # All rows in one category: the index is what it is.
    if np.count_nonzero(together) == 1:
        return stability_index(of_reference, of_window), 0.0
    # 1. The binomial of each category, one after the other in flat arrays: of a category of s rows
    #    any number w from 0 to s may stand in the window.
    lengths = together + 1
    starts = np.cumsum(lengths) - lengths
    s = np.repeat(together, lengths)
    w = np.arange(len(s)) - np.repeat(starts, lengths)
    rest = s - w
    factorials = _log_factorials(n + m)
    ways = factorials[s] - factorials[w] - factorials[rest]
    log_chance = ways + w * math.log(share) + rest * math.log1p(-share)
    chance = np.exp(log_chance)
    p = _shares(rest, n, len(together))
    q = _shares(w, m, len(together))
    terms = _index_terms(p, q)
    distance = w - s * share

    def mean(values: Array) -> Array:
        """(C) the mean of each category."""
        return np.add.reduceat(chance * values, starts)

    # 2. Of independent binomials.
    by_category = mean(terms)
    squares = mean(terms**2)
    variance = (squares - by_category**2).sum()
    spread = together * share * (1 - share)
    of_sum = spread.sum()
    products = mean(terms * distance**2)
    with_square = (products - by_category * spread).sum()
    # 3. Given that the sum is m: without what its square explains.
    expected = by_category.sum() - with_square / (2 * of_sum)
    explained = with_square**2 / (2 * of_sum**2)
    return float(expected), float(variance - explained)


def index_limit(
    mean: float,
    variance: float,
    log_level: float,
) -> float | None:
    """What an index of this mean and variance exceeds with the probability exp(log_level); None
    where all rows of both sets are in one category, so that there is nothing to test."""
    if variance <= 0:
        return None
    # The shape of the gamma distribution.
    shape = mean**2 / variance
    level = math.exp(log_level)
    z = -NormalDist().inv_cdf(level)
    # Of the cube root, which is nearly normal.
    deviation = 1 / (3 * math.sqrt(shape))
    root = 1 - deviation**2 + z * deviation
    return float(mean * root**3)


def _shares(counts: Array, total: int, num_categories: int) -> Array:
    """The share of counts in a total of so many categories, none of them 0."""
    return (counts + HALF) / (total + num_categories * HALF)


def _index_terms(p: Array, q: Array) -> Array:
    """The summands of the index of shares."""
    return (q - p) * np.log(q / p)


def _log_choose(total: int, chosen: Array) -> Array:
    factorials = _log_factorials(total)
    rest = total - chosen
    return factorials[total] - factorials[chosen] - factorials[rest]


# A watch asks for the same few totals: validation's rows, the window's, and their sum.
@lru_cache(maxsize=16)
def _log_factorials(most: int) -> Array:
    """(most + 1) the logarithms of the factorials from 0 on."""
    # In place of 0 another 1, whose logarithm is 0.
    factors = np.maximum(np.arange(most + 1), 1)
    logs = np.log(factors)
    return np.cumsum(logs)
