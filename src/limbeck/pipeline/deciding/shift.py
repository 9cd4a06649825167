"""Is the test split drawn as validation was? A promise holds for rows like those that prove it.

Two tests: of the shares of labels (chi-square of homogeneity), and of the confidence of the answers
(Kolmogorov and Smirnov's), each at half of the level. Of several labels each has a test of its own,
at its part of the level (Bonferroni). The tags of a sentence depend on each other, so of tags the
confidence of sentences is tested alone.
"""

from typing import Any

import numpy as np

from limbeck.evaluation.bootstrap import ALPHA
from limbeck.evaluation.decisions.decision import Decision
from limbeck.tasks import Scored, Task
from limbeck.tasks.likelihood import is_known

# Labels that are told, those whose shares differ most.
MOST_TOLD = 3


def shift(held: Scored, test: Scored, decision: Decision, task: Task) -> dict[str, Any]:
    """What differs between validation and test, with the p value of each test, and in words.

    Args:
        held: what the artifact answers to the validation rows that prove the promise.
        test: what it answers to the test split.
        decision: of the artifact.
        task: whose labels are told.
    """
    # Imported where it is used: no other command waits for scipy.
    from scipy.stats import ks_2samp

    of_held = decision.confidence(held.logits, held.offsets)
    of_test = decision.confidence(test.logits, test.offsets)
    p_confidence = float(ks_2samp(of_held, of_test).pvalue)
    # Words of a sentence are no independent draws.
    has_labels = "words" not in task.row_keys
    p_labels = _p_of_labels(held, test, task) if has_labels else None
    # Each at half of the level, so that both together err at no more than the whole of it.
    words = []
    if p_labels is not None and p_labels < ALPHA / 2:
        words.append(f"labels are shared out otherwise in test ({told_shares(held, test, task)})")
    if p_confidence < ALPHA / 2:
        words.append(
            f"the artifact is {'surer' if of_test.mean() > of_held.mean() else 'less sure'} of "
            f"test (mean confidence {of_test.mean():.3f}, on validation {of_held.mean():.3f})"
        )
    return {
        "p_labels": p_labels,
        "p_confidence": p_confidence,
        "words": "; ".join(words),
    }


def counts_of(scored: Scored, task: Task) -> np.ndarray:
    """(V, 2) how many rows have each label, and how many have it not, of those that are known."""
    known = is_known(scored.labels)
    # Of several labels each is there or not.
    if scored.labels.ndim > 1:
        having = ((scored.labels > 0) & known).sum(0)
        return np.stack([having, known.sum(0) - having], 1)
    having = np.bincount(scored.labels[known], minlength=len(task.labels))
    return np.stack([having, known.sum() - having], 1)


def _p_of_labels(held: Scored, test: Scored, task: Task) -> float | None:
    """The p value of "labels have the same shares in both"; None where nothing can be compared."""
    from scipy.stats import chi2_contingency

    one, other = counts_of(held, task), counts_of(test, task)
    # A two-by-two table for each label, or one table of all.
    if held.labels.ndim > 1:
        tables = [np.stack(pair) for pair in zip(one, other, strict=True)]
        # A label that all rows have, or none, is shared out alike.
        p = [chi2_contingency(each).pvalue for each in tables if each.sum(0).all()]
        return min(1.0, min(p) * len(p)) if p else None
    table = np.stack([one[:, 0], other[:, 0]])
    # A label that neither has says nothing.
    table = table[:, table.sum(0) > 0]
    if table.shape[1] < 2 or not table.sum(1).all():
        return None
    return float(chi2_contingency(table).pvalue)


def told_shares(held: Scored, test: Scored, task: Task) -> str:
    """The labels whose shares differ most, with both shares."""
    one, other = counts_of(held, task), counts_of(test, task)
    # Shares of the rows that are known: a split may have none of a label.
    before = one[:, 0] / np.maximum(one.sum(1), 1)
    after = other[:, 0] / np.maximum(other.sum(1), 1)
    most = np.argsort(-np.abs(after - before), kind="stable")[:MOST_TOLD]
    # Of two labels the second says what the first does.
    most = most[:1] if len(task.labels) == 2 else most
    return ", ".join(
        f"`{task.labels[index]}` {after[index]:.1%} of rows, {before[index]:.1%} of validation's"
        for index in most.tolist()
    )
