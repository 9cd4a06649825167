"""A vector for a text, such that texts that mean the same lie close: the encoder's mean over tokens, scaled to length 1 (Sentence-BERT, Reimers and
Gurevych, 2019, arXiv:1908.10084, section 3). Metric: Spearman's correlation between the cosine of a pair and its score (section 4.1).

A row is one text or a scored pair (`_vectors`). The score of a pair, in shares of the labels' range as in `text_regression`, is the label of its
first unit; the second's is NaN, as is that of a single text.

Deviation: scores on the scale of cosines, as in their regression objective, but the range of the labels maps to 0 to 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import Encoded, Scored, _tokens, _vectors
from limbeck.tasks.metrics import pearson, spearman
from limbeck.tasks.text_regression import moments, range_of, share, span


@dataclass(frozen=True)
class SentenceEmbedding:
    """`labels`: one, the range of the scores; `preprocess`: the text of a `tokenizer.json` with its truncation and padding set."""

    labels: Sequence[str]
    preprocess: str

    metric: ClassVar[str] = "spearman"
    metric_names: ClassVar[tuple[str, ...]] = ("spearman", "pearson")
    hard_loss: ClassVar[str] = "cosine_error"
    auto_model: ClassVar[str] = "AutoModel"
    preprocess_file: ClassVar[str] = "tokenizer.json"
    input_names: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask")
    row_keys: ClassVar[tuple[str, ...]] = ("text", "label")
    likelihood: ClassVar[str] = "gaussian"

    @staticmethod
    def find_labels(rows: Sequence[Row]) -> list[str]:
        return [range_of(rows)]

    @staticmethod
    def stratum(row: Row) -> str:
        return ""

    @staticmethod
    def content(row: Row) -> Any:
        return _tokens.content(row)

    @cached_property
    def tokenizer(self) -> Any:
        return _tokens.open_tokenizer(self.preprocess)

    @cached_property
    def padding(self) -> dict[str, int]:
        return _tokens.padding(self.preprocess)

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest score of train. Raises ValueError where they are one."""
        return span(self.labels[0])

    def encode(self, rows: Sequence[Row]) -> list[Encoded]:
        return _vectors.encode(
            self.tokenizer, self.padding, rows, [self.targets(row) for row in rows]
        )

    def targets(self, row: Row) -> np.ndarray:
        """(W) the score at the first of a pair, NaN elsewhere."""
        label = row.get("label") if "text_b" in row else None
        return _vectors.targets(row, np.float32(share(label, self.bounds)), np.float32(math.nan))

    def row(self, raw: Any) -> Row:
        return _tokens.text_row(raw)

    def decode(self, row: Row, logits: np.ndarray) -> dict[str, Any]:
        return _vectors.decode(logits)

    def scores(self, scored: Scored) -> np.ndarray:
        return _vectors.cosines(scored)

    def statistics(self, scored: Scored) -> np.ndarray:
        """(N, 6): 1, x, y, x^2, y^2 and xy of cosines x and scores y; 0 where the score is unknown."""
        first = scored.offsets[:-1]
        return moments(self.scores(scored)[first], scored.labels[first])[:, :6]

    def metrics(self, totals: np.ndarray) -> dict[str, np.ndarray]:
        """Totals (..., 6) to Pearson's correlation, in [-1, 1]."""
        return {"pearson": pearson(totals)}

    def ranked(self, scored: Scored, weights: np.ndarray) -> dict[str, np.ndarray]:
        """(R) Spearman's correlation, in [-1, 1], under each row of `weights` (R, N)."""
        first = scored.offsets[:-1]
        known = ~np.isnan(scored.labels[first])
        return {
            "spearman": spearman(
                self.scores(scored)[first][known], scored.labels[first][known], weights[:, known]
            )
        }
