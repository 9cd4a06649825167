"""Sets of labels that hold the true one with a promised probability: split conformal prediction.

A row's set has every label of a probability of at least 1 - q, where q is the k-th smallest
1 - p(true label) of n rows that nothing was fitted on, k = ceil((n + 1) coverage): the true label
is in the set with at least that probability (Sadinle et al., 2019, JASA 114; Angelopoulos and
Bates, 2021, arXiv 2107.07511, section 1). Of too few rows (k > n) every set is all labels.

That probability is one over the drawing of the n rows as well. Once they are drawn, the share of
sets that hold the true label is Beta(k, n + 1 - k) (Vovk, 2012, arXiv 1209.2673), and of m test
rows the misses are beta-binomial: with n = 100 and coverage .9 a share below .889 comes about in
one case of three, and is no fault of the sets.
"""

import math

import numpy as np

from limbeck.tasks.types import Array


def least_probability(probabilities: Array, labels: Array, coverage: float) -> float | None:
    """From which probability on a label is in the set; None where too few rows can say it.

    probabilities: (N, V) of held-out rows, labels: (N) their true ones.
    """
    rows = len(labels)
    rank = rank_of(rows, coverage)
    if rank > rows:
        return None
    of_true = probabilities[np.arange(rows), labels]
    # The k-th smallest 1 - p is that of the k-th largest p.
    return float(np.sort(of_true)[rows - rank])


def rank_of(rows: int, coverage: float) -> int:
    """The k of the module's first lines."""
    # The product of a decimal such as .95 may be a last bit above the whole number that it is.
    return math.ceil((rows + 1) * coverage - 1e-9)


def p_of_misses(missed: int, num_test: int, rows: int, coverage: float) -> float:
    """The p value of "the sets are as promised": how often right ones miss the true label in
    `missed` test rows or more, over the drawing of test rows and of the held-out ones.

    missed: of `num_test` rows. rows: held-out ones, `coverage`: what they were to show.
    """
    rank = rank_of(rows, coverage)
    # Sets of all labels miss nothing.
    if missed == 0 or rank > rows:
        return 1.0
    misses, hits = rows + 1 - rank, rank
    logs = [
        _log_beta(count + misses, num_test - count + hits)
        - _log_beta(misses, hits)
        # The binomial coefficient, as 1 / ((m + 1) B(x + 1, m - x + 1)).
        - _log_beta(count + 1, num_test - count + 1)
        - math.log(num_test + 1)
        for count in range(missed, num_test + 1)
    ]
    return min(1.0, math.fsum(map(math.exp, logs)))


def _log_beta(first: float, second: float) -> float:
    """The logarithm of the beta function."""
    return math.lgamma(first) + math.lgamma(second) - math.lgamma(first + second)


def rows_needed(coverage: float) -> int:
    """The fewest rows with which a set may be smaller than all labels."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def sets(probabilities: Array, least: float) -> Array:
    """(N, V; bool) which labels each row's set has."""
    return probabilities >= least
