"""A number, such as how alike two texts are on a scale of 0 to 5.

The one logit is the number in shares of the labels' range: (y - low) / (high - low), where low and
high are those of train, which the task's one label says ("0 to 5"). Nothing is clipped.

    spearman                  rank correlation of answers and labels
    pearson                   correlation of answers and labels (Cer et al., 2017, arXiv 1708.00055,
                              section 6, judge semantic similarity by it)
    root_mean_square_error    in the unit of the labels

Two answers are one decision while they differ by no more than `likelihood.TOLERANCE` of the range.
Shapes: N rows of one unit each.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import Scored
from limbeck.tasks.likelihood import LIKELIHOODS, is_known
from limbeck.tasks.metrics import defined, pearson, spearman
from limbeck.tasks.types import Answer, Array, Figures, Names, Rows

# Between the two ends of a range, in the task's one label.
BETWEEN = " to "


@dataclass(frozen=True)
class Number:
    """`labels`: one, the range of the numbers. A row has its number, or None, in `label`."""

    labels: Sequence[str]

    metric: ClassVar[str] = "spearman"
    metric_names: ClassVar[Names] = ("spearman", "pearson", "root_mean_square_error")
    hard_loss: ClassVar[str] = "mean_squared_error"
    likelihood: ClassVar[str] = "gaussian"
    row_keys: ClassVar[Names] = ("label",)

    @staticmethod
    def find_labels(rows: Rows) -> list[str]:
        """One: the range. Raises ValueError for a label that is no number."""
        return [range_of(rows)]

    @staticmethod
    def stratum(row: Row) -> str:
        """One for all: numbers are not drawn in shares."""
        return ""

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest number of train. Raises ValueError where they are one."""
        return bounds_of(self.labels[0])

    def targets(self, row: Row) -> Array:
        """(1) the row's number in shares of the range, NaN where it is unknown."""
        # A user's row has no key `label` at all.
        number = share(row.get("label"), self.bounds)
        return np.array([number], np.float32)

    def decode(
        self,
        row: Row,
        logits: Array,
    ) -> Answer:
        """(1, 1) logits to the number, on the scale of the labels."""
        low, high = self.bounds
        # Not clipped: an answer beyond the range says how far beyond.
        score = low + (high - low) * float(logits[0, 0])
        return {"score": round(score, 6)}

    def decisions(self, scored: Scored) -> Array:
        """(N) the answers, in shares of the range."""
        # The one logit of a unit.
        logits = LIKELIHOODS[self.likelihood].decide(scored.logits)
        return logits[:, 0]

    def statistics(self, scored: Scored) -> Array:
        """(N, 7): the `moments` of answers and labels."""
        return moments(self.decisions(scored), scored.labels)

    def metrics(self, totals: Array) -> Figures:
        """Totals (..., 7) to Pearson's correlation in [-1, 1] and the root mean square error."""
        low, high = self.bounds
        num_known = totals[..., 0]
        squared_errors = totals[..., 6]
        mean_square = defined(squared_errors, num_known)
        # Correlations do not see the unit; an error is told in that of the labels.
        return {
            "pearson": pearson(totals[..., :6]),
            "root_mean_square_error": (high - low) * np.sqrt(mean_square),
        }

    def ranked(
        self,
        scored: Scored,
        weights: Array,
    ) -> Figures:
        """(R) Spearman's correlation in [-1, 1] under each row of `weights` (R, N)."""
        known = is_known(scored.labels)
        # Left out, not weighed by 0: a NaN has no rank.
        answers = self.decisions(scored)[known]
        labels = scored.labels[known]
        return {"spearman": spearman(answers, labels, weights[:, known])}

    def details(self, scored: Scored) -> Answer:
        """None: there are no labels to tell apart."""
        return {}


def number_of(label: Any) -> float | None:
    """A row's label as a number; None is unknown. Raises ValueError for what is no finite one."""
    if label is None:
        return None
    try:
        number = float(label)
    except (TypeError, ValueError):
        number = math.nan
    # "nan" and "inf" are floats to Python, and labels to nobody.
    if not math.isfinite(number):
        raise ValueError(
            f"`{label}` is no number, which a score is. "
            "Mend the row, or take a task of classification"
        )
    return number


def range_of(rows: Rows) -> str:
    """The range of the labels, in words: "0 to 5".

    Raises ValueError for a label that is no number, and where no row has one.
    """
    numbers = []
    for place, row in enumerate(rows, 1):
        try:
            number = number_of(row["label"])
        except ValueError as error:
            # The row that is to be mended is known here alone.
            raise ValueError(f"row {place}: label: {error}") from None
        if number is not None:
            numbers.append(number)
    if not numbers:
        raise ValueError("no row has a label. Give it scores")
    # Twelve digits: 0.1 + 0.2 is written 0.3.
    return f"{min(numbers):.12g}{BETWEEN}{max(numbers):.12g}"


def bounds_of(words: str) -> tuple[float, float]:
    """The two ends of what `range_of` says. Raises ValueError where they are one."""
    low, high = map(float, words.split(BETWEEN))
    # The shares of the range would be divided by 0.
    if low == high:
        raise ValueError(
            f"data: train has one score only ({low:g}); nothing can be learned from it. "
            "Add rows of another"
        )
    return low, high


def share(label: Any, bounds: tuple[float, float]) -> float:
    """A label in shares of the range, NaN where it is unknown."""
    number = number_of(label)
    if number is None:
        return math.nan
    low, high = bounds
    return (number - low) / (high - low)


def moments(answers: Array, labels: Array) -> Array:
    """(N, 7) of answers x and labels y, both (N): 1, x, y, x^2, y^2, xy and (x - y)^2; all 0 where
    y is unknown. Their sums give correlation and mean square error."""
    x = answers
    y = labels.astype(np.float64)
    first = [np.ones_like(x), x, y]
    second = [x * x, y * y, x * y]
    columns = np.stack([*first, *second, (x - y) ** 2], 1)
    known = is_known(labels)[:, None]
    # A NaN times a weight of 0 would still be NaN in the sums.
    return np.where(known, columns, 0)
