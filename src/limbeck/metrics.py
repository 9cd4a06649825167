"""Figures from counts. Torch-free.

Precision p = TP / predicted, recall r = TP / true, F1 = 2 TP / (predicted + true); 0 where a denominator is 0.
"""

from typing import Any

import numpy as np

LOWER_IS_BETTER = ("nats_per_token", "perplexity")


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where whole is 0."""
    return np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=np.asarray(whole) != 0)


def precision_recall_f1(hits: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three, each in [0, 1], for any shape of counts."""
    return ratio(hits, predicted), ratio(hits, true), ratio(2 * hits, predicted + true)


def confusion(labels: np.ndarray, decisions: np.ndarray, num_labels: int) -> np.ndarray:
    """(V, V) counts, rows true, columns predicted; units without a label (negative) do not count."""
    known = labels >= 0
    return np.bincount(labels[known] * num_labels + decisions[known], minlength=num_labels**2).reshape(num_labels, num_labels)


def per_label(counts: np.ndarray, labels: list[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of every label, then the micro average (the share of right units), macro and weighted average."""
    hits, predicted, support = np.diag(counts), counts.sum(0), counts.sum(1)
    figures = np.stack(precision_recall_f1(hits, predicted, support), 1)
    total = int(support.sum())
    rows = [_row(label, figures[i], support[i]) for i, label in enumerate(labels)]
    rows.append(_row("micro average", np.full(3, ratio(hits.sum(), support.sum())), total))
    rows.append(_row("macro average", figures.mean(0), total))
    rows.append(_row("weighted average", ratio((figures * support[:, None]).sum(0), np.full(3, total)), total))
    return rows


def _row(label: str, figures: np.ndarray, support: int) -> dict[str, Any]:
    precision, recall, f1 = figures.tolist()
    return {"label": label, "precision": precision, "recall": recall, "f1": f1, "support": int(support)}


def spans(tags: list[str]) -> list[tuple[str, int, int]]:
    """(type, first, past the last) of every span of a tag sequence: B- begins one; I- of another type, or after O, begins one too (as conlleval)."""
    found: list[tuple[str, int, int]] = []
    start, kind = 0, ""
    for index, tag in enumerate([*tags, "O"]):
        continues = tag.startswith("I-") and tag[2:] == kind
        if kind and not continues:
            found.append((kind, start, index))
            kind = ""
        if tag != "O" and not continues:
            start, kind = index, tag[2:]
    return found
