"""Which rows are one input: a text that stands ten times in validation is no ten proofs.

Equal inputs go into one split together (`data.drawing`), so that a split may hold few that differ.
They are told by their logits, which one artifact computes alike. Shapes: P units, N rows.
"""

from itertools import pairwise

import numpy as np

from limbeck.tasks.types import Array


def input_of_row(logits: Array, offsets: Array) -> Array:
    """(N) a number for each row, the same for rows of the same logits (P, V)."""
    numbers: dict[bytes, int] = {}
    rows = []
    for start, end in pairwise(offsets.tolist()):
        # Sentences of several lengths differ in their bytes, too.
        key = np.ascontiguousarray(logits[start:end]).tobytes()
        rows.append(numbers.setdefault(key, len(numbers)))
    return np.array(rows, np.int64)
