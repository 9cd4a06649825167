"""What the heads share whose logits are vectors. A row is a text or a pair; each text is a unit.

The label of a pair stands at its first unit; the second's is unknown, as is that of a single text.
So is the cosine of a pair: it stands at the first unit. Vectors have length 1, which makes a cosine
of a dot product. Shapes: P units, D the width of a vector, N rows.
"""

import math

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import Scored
from limbeck.tasks.types import Answer, Array


def targets(
    row: Row,
    label: np.number,
    unknown: np.number,
) -> Array:
    """(W) the labels of a row's texts: `label` at the first of a pair, else `unknown`."""
    # A single text is not compared with anything, so that no label can be its own.
    labels = [label, unknown] if "text_b" in row else [unknown]
    return np.array(labels)


def decode(logits: Array) -> Answer:
    """(1, D) logits to the vector; (2, D) to both vectors and their cosine."""
    vectors = logits.astype(np.float64).round(6).tolist()
    if len(vectors) == 1:
        return {"embedding": vectors[0]}
    # A cosine, because vectors have length 1.
    similarity = float(logits[0] @ logits[1])
    return {"similarity": round(similarity, 6), "embeddings": vectors}


def is_pair(scored: Scored) -> Array:
    """(N; bool) whether each row has two units."""
    return np.diff(scored.offsets) == 2


def cosines(scored: Scored) -> Array:
    """(P) the cosine of each pair at its first unit, NaN elsewhere."""
    first_units = scored.offsets[:-1]
    first = first_units[is_pair(scored)]
    # In float64, in which a cosine of two equal vectors differs from 1 by less.
    one = scored.logits[first].astype(np.float64)
    other = scored.logits[first + 1]
    products = one * other
    values = np.full(len(scored.labels), math.nan)
    values[first] = products.sum(1)
    return values
