"""A score for a text, or for a pair of texts. Metric: Spearman's rank correlation with the labels; Pearson's and the root mean square error beside it
(Cer et al., 2017, arXiv:1708.00055, section 6, judge semantic similarity by Pearson's).

The model's one logit is the score in shares of the labels' range: (y - low) / (high - low), low and high those of train, which the task's one label
says ("0 to 5"); nothing is clipped. A pair is read as in `text_classification`. Two answers that differ by more than `tasks.TOLERANCE` of the
range are two decisions: so parity and agreement count.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import Encoded, Scored, _tokens
from limbeck.tasks.metrics import pearson, ratio, spearman

BETWEEN = " to "


@dataclass(frozen=True)
class TextRegression:
    """`labels`: one, the range of the scores; `preprocess`: the text of a `tokenizer.json` with its truncation and padding set."""

    labels: Sequence[str]
    preprocess: str

    metric: ClassVar[str] = "spearman"
    metric_names: ClassVar[tuple[str, ...]] = ("spearman", "pearson", "root_mean_square_error")
    hard_loss: ClassVar[str] = "mean_squared_error"
    auto_model: ClassVar[str] = "AutoModelForSequenceClassification"
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
        return _tokens.encode(
            self.tokenizer,
            rows,
            [np.array([share(row.get("label"), self.bounds)], np.float32) for row in rows],
        )

    def row(self, raw: Any) -> Row:
        return _tokens.text_row(raw)

    def decode(self, row: Row, logits: np.ndarray) -> dict[str, Any]:
        """(1, 1) logits to the score, on the scale of the labels."""
        low, high = self.bounds
        return {"score": round(low + (high - low) * float(logits[0, 0]), 6)}

    def scores(self, scored: Scored) -> np.ndarray:
        return scored.logits[:, 0].astype(np.float64)

    def statistics(self, scored: Scored) -> np.ndarray:
        """(N, 7): what `moments` of scores and labels says, and their squared difference; 0 where the label is unknown."""
        return moments(self.scores(scored), scored.labels)

    def metrics(self, totals: np.ndarray) -> dict[str, np.ndarray]:
        """Totals (..., 7) to Pearson's correlation in [-1, 1] and the root mean square error in the labels' unit."""
        low, high = self.bounds
        return {
            "pearson": pearson(totals[..., :6]),
            "root_mean_square_error": (high - low) * np.sqrt(ratio(totals[..., 6], totals[..., 0])),
        }

    def ranked(self, scored: Scored, weights: np.ndarray) -> dict[str, np.ndarray]:
        """(R) Spearman's correlation, in [-1, 1], under each row of `weights` (R, N)."""
        known = ~np.isnan(scored.labels)
        return {
            "spearman": spearman(
                self.scores(scored)[known], scored.labels[known], weights[:, known]
            )
        }


def number(label: Any) -> float | None:
    """A row's label as a number; None is unknown. Raises ValueError."""
    try:
        found = None if label is None else float(label)
    except (TypeError, ValueError):
        found = math.nan
    if found is not None and not math.isfinite(found):
        raise ValueError(
            f"`{label}` is no number, which a score is. Mend the row, or take a task of classification"
        )
    return found


def range_of(rows: Sequence[Row]) -> str:
    """The range of the labels, in a word. Raises ValueError for a label that is no number, and where there is none."""
    found = []
    for place, row in enumerate(rows, 1):
        try:
            found.append(number(row["label"]))
        except ValueError as error:
            raise ValueError(f"row {place}: label: {error}") from None
    known = [value for value in found if value is not None]
    if not known:
        raise ValueError("no row has a label. Give it scores")
    return f"{min(known):.12g}{BETWEEN}{max(known):.12g}"


def span(word: str) -> tuple[float, float]:
    """The two ends of what `range_of` says. Raises ValueError where they are one."""
    low, high = map(float, word.split(BETWEEN))
    if low == high:
        raise ValueError(
            f"data: train has one score only ({low:g}); nothing can be learned from it. Add rows of another"
        )
    return low, high


def share(label: Any, bounds: tuple[float, float]) -> float:
    """A label in shares of the range, NaN where it is unknown."""
    value, (low, high) = number(label), bounds
    return math.nan if value is None else (value - low) / (high - low)


def moments(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N, 7): 1, x, y, x^2, y^2, xy and (x - y)^2 of scores x and labels y; 0 where y is NaN."""
    x, y, known = scores, labels.astype(np.float64), ~np.isnan(labels)
    columns = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y, (x - y) ** 2], 1)
    return np.where(known[:, None], columns, 0)
