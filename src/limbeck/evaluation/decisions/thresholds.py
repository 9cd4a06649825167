"""Which label is answered where the most probable one is not the best answer.

`cheapest`: the label of the least expected cost, sum over true labels i of p_i C[i, j] (Elkan,
2001, IJCAI, equation 1). `best_f1`: of labels that are decided one by one, the probability from
which each is given so that its F1 on validation is the highest: rare labels rarely pass one half
(Lipton et al., 2014, arXiv 1402.1892).
"""

import numpy as np

from limbeck.tasks.likelihood import is_known
from limbeck.tasks.types import Array

# Of validation rows that have a label; with fewer, one half is as good a threshold as any.
FEWEST_ROWS = 5


def cheapest(probabilities: Array, costs: Array) -> Array:
    """(P) the label of the least expected cost; costs (V, V): rows true, columns answered."""
    return (probabilities @ costs).argmin(-1)


def best_f1(probabilities: Array, labels: Array) -> Array:
    """(V) a threshold for each label, one half where too few rows have it.

    probabilities: (N, V), labels: (N, V), 1 where a row has a label, or unknown.
    """
    thresholds = np.full(probabilities.shape[1], 0.5)
    for label in range(len(thresholds)):
        # A row may say nothing of some labels.
        known = is_known(labels[:, label])
        true = labels[known, label] > 0
        # Of copies of one input all have one probability.
        if len(np.unique(probabilities[known, label][true])) >= FEWEST_ROWS:
            thresholds[label] = _best_threshold(probabilities[known, label], true)
    return thresholds


def _best_threshold(p: Array, true: Array) -> float:
    """Halfway between the probabilities where the F1 of giving the label above is highest."""
    order = np.argsort(-p, kind="stable")
    falling = p[order]
    hits = true[order].cumsum()
    given = np.arange(1, len(p) + 1)
    # Rows of one probability are given the label together.
    f1 = np.where(np.append(falling[1:] != falling[:-1], True), 2 * hits / (given + true.sum()), 0)
    # Halfway to the next one below: either side errs by as much.
    last = int(f1.argmax())
    below = falling[last + 1] if last + 1 < len(p) else 0.0
    return float((falling[last] + below) / 2)
