"""Vectors of texts without a network: the principal directions of their words (latent semantic
analysis; Deerwester et al., 1990, JASIS 41(6), 391-407), by a seeded singular value decomposition.

Shapes: P texts, D directions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from limbeck.baselines.words import WordCounts, all_texts
from limbeck.sources import Row

# How many directions, of which validation chooses.
DIMENSIONS = (64, 256)


@dataclass(frozen=True)
class Directions:
    """`features`: reads texts. `directions`: (F, D)."""

    features: WordCounts
    directions: np.ndarray

    title = "principal directions of words and characters"

    @property
    def num_parameters(self) -> int:
        return self.directions.size

    def read(self, rows: Sequence[Row]) -> Any:
        """(P, F) of the texts of the rows."""
        return self.features.texts(all_texts(rows))

    def logits(self, read: Any) -> np.ndarray:
        """(P, D) a vector for each text."""
        return np.asarray(read @ self.directions, np.float32)


def vector_candidates(rows: Sequence[Row]) -> Iterator[Directions]:
    """Vectors of each number of directions that the texts have."""
    from sklearn.decomposition import TruncatedSVD

    features = WordCounts(rows)
    read: Any = features.texts(all_texts(rows))
    # There are no more directions than texts or features; the first of many are those of few.
    sizes = sorted({min(size, *read.shape) for size in DIMENSIONS})
    directions = TruncatedSVD(sizes[-1], random_state=0).fit(read).components_.T
    for size in sizes:
        yield Directions(features, directions[:, :size].astype(np.float32))
