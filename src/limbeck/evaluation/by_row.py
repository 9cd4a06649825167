"""Figures of units as figures of their rows: the words of a sentence, the labels of a text; above
all whether a decision is wrong.

Shapes: P units, N rows, V labels.
"""

import numpy as np

from limbeck.tasks import Scored
from limbeck.tasks.likelihood import is_known


def of_rows(scored: Scored, kept: np.ndarray) -> Scored:
    """The answers to some rows alone; `kept`: (N; bool) which."""
    lengths = np.diff(scored.offsets)
    units = np.repeat(kept, lengths)
    return Scored(
        logits=scored.logits[units],
        labels=scored.labels[units],
        offsets=np.concatenate([[0], np.cumsum(lengths[kept])]),
        decided=None if scored.decided is None else scored.decided[units],
    )


def is_wrong(decisions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(P) or (P, V) whether each decision is another than its label says; not where that is
    unknown."""
    # One label of several is an index, any number of labels a column each.
    true = labels if decisions.ndim == 1 else labels > 0
    wrong: np.ndarray = (decisions != true) & is_known(labels)
    return wrong


def sums_by_row(units: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(N) the sums of what the units (P) of each row have; 0 of a row without units."""
    sums = np.concatenate([[0], np.cumsum(units, dtype=np.float64)])
    of_rows: np.ndarray = sums[offsets[1:]] - sums[offsets[:-1]]
    return of_rows


def any_by_row(units: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(N; bool) whether something holds of any unit of each row; units: (P) or (P, V) of bool."""
    # Several labels are decisions of one unit each.
    of_unit: np.ndarray = units.reshape(len(units), -1).max(1, initial=False)
    found: np.ndarray = sums_by_row(of_unit, offsets) > 0
    return found
