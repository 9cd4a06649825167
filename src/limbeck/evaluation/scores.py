"""What a model answers on a split: quality, agreement with the teacher."""

from typing import Any

import numpy as np

from limbeck.tasks import Scored, Scoring, SelfSupervised, Task, differs, figures, is_known, metrics


def quality(scored: Scored, task: Task) -> dict[str, float]:
    """Every metric of the task on a split."""
    every_row_once = np.ones((1, len(scored.offsets) - 1))
    return {name: float(value[0]) for name, value in figures(task, scored, every_row_once).items()}


def details(scored: Scored, task: Task) -> dict[str, Any]:
    """The per-label report, and the confusion matrix where labels exclude one another; nothing where they are a vocabulary or numbers."""
    if isinstance(task, SelfSupervised | Scoring):
        return {}
    if task.likelihood == "bernoulli":
        hits, predicted, true = np.split(task.statistics(scored).sum(0)[: 3 * len(task.labels)], 3)
        return {"per_label": metrics.report(hits, predicted, true, list(task.labels))}
    counts = metrics.confusion(scored.labels, scored.decisions, len(task.labels))
    labels = list(task.labels)
    return {
        "per_label": metrics.per_label(counts, labels),
        "confusion": {"labels": labels, "counts": counts.tolist()},
    }


def agreement(scored: Scored, other: Scored, task: Task) -> float:
    """The share of decisions, of those whose label is known, that two models make alike."""
    return 1 - float(differs(task, scored, other).sum() / is_known(scored.labels).sum())
