"""Several looks at one test split: which of many classes or slices lost more than chance explains.

Holm's step-down procedure (1979, Scandinavian Journal of Statistics 6, 65-70). Of k tests the
smallest p value is multiplied by k, the next by k - 1, and so on; an adjusted value is never below
that of a smaller one. The chance that any true "nothing was lost" is rejected stays below the
level, however the tests depend on one another.
"""

from collections.abc import Sequence

import numpy as np


def adjusted(p_values: Sequence[float]) -> list[float]:
    """The adjusted p values, in the same order, in [0, 1].

    Raises ValueError for what is no probability.

    >>> adjusted([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=float)
    # Also refuses NaN, which compares with nothing.
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p values lie in [0, 1]: {list(p_values)}")
    order = np.argsort(p, kind="stable")
    num_left = np.arange(len(p), 0, -1)
    raised = np.maximum.accumulate(p[order] * num_left)
    found = np.empty_like(p)
    found[order] = np.minimum(raised, 1)
    return [float(value) for value in found]
