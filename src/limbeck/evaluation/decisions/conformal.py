"""Sets of labels that hold the true one with a promised probability: split conformal prediction.

A row's set has every label of a probability of at least 1 - q, where q is the k-th smallest
1 - p(true label) of n rows that nothing was fitted on, k = ceil((n + 1) coverage): the true label
is in the set with at least that probability (Sadinle et al., 2019, JASA 114; Angelopoulos and
Bates, 2021, arXiv 2107.07511, section 1). Of too few rows (k > n) every set is all labels.
"""

import math

import numpy as np

from limbeck.tasks.types import Array


def least_probability(probabilities: Array, labels: Array, coverage: float) -> float | None:
    """From which probability on a label is in the set; None where too few rows can say it.

    probabilities: (N, V) of held-out rows, labels: (N) their true ones.
    """
    rows = len(labels)
    # The product of a decimal such as .95 may be a last bit above the whole number that it is.
    rank = math.ceil((rows + 1) * coverage - 1e-9)
    if rank > rows:
        return None
    of_true = probabilities[np.arange(rows), labels]
    # The k-th smallest 1 - p is that of the k-th largest p.
    return float(np.sort(of_true)[rows - rank])


def rows_needed(coverage: float) -> int:
    """The fewest rows with which a set may be smaller than all labels."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def sets(probabilities: Array, least: float) -> Array:
    """(N, V; bool) which labels each row's set has."""
    return probabilities >= least
