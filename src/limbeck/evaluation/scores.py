"""What a model's answers on a split are worth: every metric, and agreement with another model."""

import numpy as np

from limbeck.tasks import Scored, Task, differs, figures
from limbeck.tasks.likelihood import LIKELIHOODS, is_known


def quality(scored: Scored, task: Task) -> dict[str, float]:
    """Every metric of the task on a split, by name, to compare answers by.

    One that is undefined there is 0: answers that do not vary order nothing, and a correlation of 0
    is what they are worth beside others.
    """
    known = told_quality(scored, task)
    return {name: value or 0.0 for name, value in known.items()}


def told_quality(scored: Scored, task: Task) -> dict[str, float | None]:
    """Every metric of the task on a split, by name, as a user is told them: None where it is
    undefined, as the AUC of rows of one label is."""
    num_rows = len(scored.offsets) - 1
    every_row_once = np.ones((1, num_rows))
    # As the bootstrap computes them: a metric is written once.
    metrics = figures(task, scored, every_row_once)
    return {
        name: None if np.isnan(values[0]) else float(values[0]) for name, values in metrics.items()
    }


def mean_nats(logits: np.ndarray, labels: np.ndarray, likelihood: str) -> float | None:
    """The mean negative log-likelihood of the labels that are known, in nats a unit; None where
    none is."""
    # Of several labels, a unit counts where one of them is known; what is unknown adds nothing.
    num_known = is_known(labels).reshape(len(labels), -1).any(1).sum()
    if not num_known:
        return None
    log_probability = LIKELIHOODS[likelihood].log_probability(logits, labels)
    return -float(log_probability.sum() / num_known)


def agreement(
    scored: Scored,
    other: Scored,
    task: Task,
) -> float:
    """The share, in [0, 1], of decisions that two models make alike, where the label is known."""
    # Where the label is unknown, no decision counts as different.
    num_different = differs(task, scored, other).sum()
    num_known = is_known(scored.labels).sum()
    return 1 - float(num_different / num_known)
