"""A vector for each text, such that texts that mean the same lie close.

    spearman, pearson   between the cosine of a pair and its score (Reimers and Gurevych, 2019,
                        Sentence-BERT, arXiv 1908.10084, section 4.1, judge by Spearman's)

A score is in shares of the labels' range, as in `number.py`, so that the range maps to 0 to 1.
Where the label of a pair and its cosine stand, `vectors.py` says. Shapes: P units, N rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import Scored
from limbeck.tasks.heads import vectors
from limbeck.tasks.heads.number import bounds_of, moments, range_of, share
from limbeck.tasks.likelihood import is_known
from limbeck.tasks.metrics import pearson, spearman
from limbeck.tasks.types import Answer, Array, Figures, Names, Rows


@dataclass(frozen=True)
class Similarity:
    """`labels`: one, the range of the scores. A pair has its score, or None, in `label`."""

    labels: Sequence[str]

    metric: ClassVar[str] = "spearman"
    metric_names: ClassVar[Names] = ("spearman", "pearson")
    hard_loss: ClassVar[str] = "cosine_error"
    likelihood: ClassVar[str] = "gaussian"
    row_keys: ClassVar[Names] = ("label",)

    @staticmethod
    def find_labels(rows: Rows) -> list[str]:
        """One: the range. Raises ValueError for a label that is no number, and for scores without a
        pair that they could be of."""
        if not any("text_b" in row for row in rows):
            raise ValueError(
                "scores of single texts, and none of a pair: name the column of the second text "
                "with data.text_b"
            )
        return [range_of(rows)]

    @staticmethod
    def stratum(row: Row) -> str:
        """One for all: scores are not drawn in shares."""
        return ""

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest score of train. Raises ValueError where they are one."""
        return bounds_of(self.labels[0])

    def targets(self, row: Row) -> Array:
        """(W) the score, in shares of the range, at the first of a pair; NaN elsewhere."""
        # A single text among pairs has no score, whatever its column holds.
        label = row.get("label") if "text_b" in row else None
        score = share(label, self.bounds)
        return vectors.targets(row, np.float32(score), np.float32(math.nan))

    def decode(
        self,
        row: Row,
        logits: Array,
    ) -> Answer:
        return vectors.decode(logits)

    def decisions(self, scored: Scored) -> Array:
        """(P) the cosine of each pair at its first unit, NaN elsewhere."""
        return vectors.cosines(scored)

    def statistics(self, scored: Scored) -> Array:
        """(N, 6): 1, x, y, x^2, y^2 and xy of cosines x and scores y; 0 where y is unknown."""
        # Where a single text begins, cosine and label both are unknown.
        first = scored.offsets[:-1]
        cosines = self.decisions(scored)[first]
        columns = moments(cosines, scored.labels[first])
        # Without the squared difference: a cosine is no prediction of the score.
        return columns[:, :6]

    def metrics(self, totals: Array) -> Figures:
        """Totals (..., 6) to Pearson's correlation in [-1, 1]."""
        return {"pearson": pearson(totals)}

    def ranked(
        self,
        scored: Scored,
        weights: Array,
    ) -> Figures:
        """(R) Spearman's correlation in [-1, 1] under each row of `weights` (R, N)."""
        first = scored.offsets[:-1]
        labels = scored.labels[first]
        known = is_known(labels)
        # Left out, not weighed by 0: a NaN has no rank.
        cosines = self.decisions(scored)[first][known]
        return {"spearman": spearman(cosines, labels[known], weights[:, known])}

    def details(self, scored: Scored) -> Answer:
        """None: there are no labels to tell apart."""
        return {}
