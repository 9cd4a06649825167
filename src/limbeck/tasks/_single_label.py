"""What the tasks with one label a row share: labels in order, the answer, and figures that are functions of sums over rows."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import UNKNOWN, Scored, softmax
from limbeck.tasks.metrics import macro_auc, precision_recall_f1, ratio


def find_labels(rows: Iterable[Row]) -> list[str]:
    """Every label, sorted; numbers by value."""
    found = {row["label"] for row in rows if row["label"] is not None}
    return sorted(
        found, key=lambda label: (0, int(label), "") if label.isdecimal() else (1, 0, label)
    )


def encode_labels(rows: Iterable[Row], labels: Sequence[str]) -> list[np.ndarray]:
    """(1) the index of each row's label, UNKNOWN where it has none."""
    index: dict[str | None, np.ndarray] = {
        label: np.array([i], np.int64) for i, label in enumerate(labels)
    }
    unknown = np.array([UNKNOWN], np.int64)
    return [index.get(row.get("label"), unknown) for row in rows]


def decode(labels: Sequence[str], logits: np.ndarray) -> dict[str, Any]:
    """(1, V) logits to the label, its probability and all probabilities."""
    probabilities = softmax(logits[0].astype(np.float64))
    best = int(probabilities.argmax())
    return {
        "label": labels[best],
        "probability": round(float(probabilities[best]), 6),
        "probabilities": {
            label: round(float(p), 6) for label, p in zip(labels, probabilities, strict=True)
        },
    }


def statistics(scored: Scored, num_labels: int) -> np.ndarray:
    """(N, 3 V): hits, predictions and true rows of each label, row by row; their sums give every metric."""
    one_hot = np.eye(num_labels)
    predicted, true = one_hot[scored.decisions], one_hot[scored.labels]
    return np.concatenate([predicted * true, predicted, true], 1)


def metrics(totals: np.ndarray) -> dict[str, np.ndarray]:
    """Totals (..., 3 V) to accuracy and macro F1, each in [0, 1]."""
    hits, predicted, true = np.split(totals, 3, -1)
    return {
        "accuracy": ratio(hits.sum(-1), true.sum(-1)),
        "macro_f1": precision_recall_f1(hits, predicted, true)[2].mean(-1),
    }


def ranked(scored: Scored, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Weights (R, N) to the macro AUC of the probabilities, in [0, 1]."""
    return {"auc": macro_auc(softmax(scored.logits.astype(np.float64)), scored.labels, weights)}
