"""Logistic regression for labels, ridge regression for a number, over words or pixels.

Shapes: N rows, F features, V logits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from limbeck.baselines.pixels import Pixels
from limbeck.baselines.words import WordCounts
from limbeck.sources import Row
from limbeck.tasks import Task
from limbeck.tasks.likelihood import is_known

# Inverse strengths of regularization that validation chooses from, the strongest first: words are
# many and each says much, pixels are few and say little.
STRENGTHS = {"words": (1.0, 10.0, 100.0), "pixels": (1e-4, 1e-3, 1e-2, 1e-1)}
TITLES = {"words": "words and characters", "pixels": "pixels"}
ITERATIONS = 100
TOLERANCE = 1e-3
# The logit of a label that train lacks.
NEVER = -30.0

# Weights (F, V) and bias (V).
Fit = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Linear:
    """`features`: reads rows. `weights` (F, V) and `bias` (V)."""

    title: str
    features: Any
    weights: np.ndarray
    bias: np.ndarray

    @property
    def num_parameters(self) -> int:
        return self.weights.size + self.bias.size

    def read(self, rows: Sequence[Row]) -> Any:
        """(N, F)."""
        return self.features.rows(rows)

    def logits(self, read: Any) -> np.ndarray:
        """(N, V)."""
        return np.asarray(read @ self.weights + self.bias, np.float32)


def linear_candidates(
    task: Task,
    rows: Sequence[Row],
    labels: np.ndarray,
) -> Iterator[Linear]:
    """A model for every strength; `labels` (N) or (N, V), as the task's likelihood has them."""
    kind = "pixels" if "image" in task.row_keys else "words"
    features: Any = Pixels(rows) if kind == "pixels" else WordCounts(rows)
    # Labels that nobody knows teach nothing.
    known = is_known(labels).reshape(len(rows), -1).any(1)
    read = features.rows(rows)[np.flatnonzero(known)]
    labels = labels[known]
    fit = {"categorical": one_label, "bernoulli": several_labels, "gaussian": number}
    name = "ridge regression" if task.likelihood == "gaussian" else "logistic regression"
    title = f"{name} over {TITLES[kind]}"
    for strength in STRENGTHS[kind]:
        for weights, bias in fit[task.likelihood](read, labels, len(task.labels), strength):
            yield Linear(title, features, weights, bias)


def one_label(
    read: Any,
    labels: np.ndarray,
    num_labels: int,
    strength: float,
) -> Iterator[Fit]:
    """Multinomial logistic regression; `labels` (N) indices."""
    from sklearn.linear_model import LogisticRegression

    weights = np.zeros((read.shape[1], num_labels), np.float32)
    bias = np.full(num_labels, NEVER, np.float32)
    seen = np.unique(labels)
    # scikit-learn refuses a single class, which is its own answer.
    if len(seen) == 1:
        bias[seen] = 0
    else:
        model = LogisticRegression(C=strength, max_iter=ITERATIONS, tol=TOLERANCE)
        model.fit(read, labels)
        if len(seen) == 2:
            # Of two labels scikit-learn keeps one column: the logit of the second less the first's.
            weights[:, seen[1]] = model.coef_[0]
            bias[seen] = 0, model.intercept_[0]
        else:
            weights[:, seen] = model.coef_.T
            bias[seen] = model.intercept_
    yield weights, bias


def several_labels(
    read: Any,
    labels: np.ndarray,
    num_labels: int,
    strength: float,
) -> Iterator[Fit]:
    """A logistic regression for each label, plain and with both of its answers weighed alike;
    `labels` (N, V), 1 where the row has the label."""
    from sklearn.linear_model import LogisticRegression

    for class_weight in (None, "balanced"):
        weights = np.zeros((read.shape[1], num_labels), np.float32)
        bias = np.zeros(num_labels, np.float32)
        for label in range(num_labels):
            known = np.flatnonzero(is_known(labels[:, label]))
            has_label = labels[known, label] > 0
            if has_label.all() or not has_label.any():
                bias[label] = -NEVER if has_label.any() else NEVER
                continue
            # Weighed alike, a label of one row in a hundred is given at all.
            model = LogisticRegression(
                C=strength,
                max_iter=ITERATIONS,
                tol=TOLERANCE,
                class_weight=class_weight,
            )
            model.fit(read[known], has_label)
            weights[:, label] = model.coef_[0]
            bias[label] = model.intercept_[0]
        yield weights, bias


def number(
    read: Any,
    labels: np.ndarray,
    num_labels: int,
    strength: float,
) -> Iterator[Fit]:
    """Ridge regression; `labels` (N) in shares of their range."""
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=1 / strength, solver="lsqr", tol=TOLERANCE)
    model.fit(read, labels)
    weights = model.coef_.reshape(-1, 1).astype(np.float32)
    bias = np.full(1, model.intercept_, np.float32)
    yield weights, bias
