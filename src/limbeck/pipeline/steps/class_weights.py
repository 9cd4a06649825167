"""How much each label counts in the loss on the labels, where `data.class_weights` says so.

`balanced`, from the labelled rows of train, P units of which P_v have the label v, V labels:

    one label a unit    P / (V P_v), so that every label adds as much to the loss (King and Zeng,
                        2001, Political Analysis 9(2); scikit-learn's `balanced`)
    several labels      (P - P_v) / P_v for a unit that has the label, 1 for one that has it not

Both are bounded by MOST: a label of three rows among thousands would pull every step to these. The
mean over the units of train is 1 for one label a unit, so that the learning rate means the same.

Metrics are not weighted, and teacher, assistant and every arm have the same weights.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from limbeck.core import wording
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.deciding.asked import check_weights, types_of
from limbeck.tasks import OverVocabulary, Task
from limbeck.tasks.likelihood import LIKELIHOODS, is_known
from limbeck.tasks.packed import flat_labels
from limbeck.tasks.types import Array

MOST = 100.0
# Significant digits: what differs by less differs by nothing.
DIGITS = 6
PATH = ["data", "class_weights"]


def hard_loss_keys(run: RunContext, task: Task) -> dict[str, Any]:
    """The keys of the task's own loss: its weights of labels; none where all count alike.

    Args:
        run: what the arms share; its recipe says how labels are weighted.
        task: with any model's preprocessing.

    Raises:
        ValueError: the task has no labels to weigh, or a label of that name is not in the data.
    """
    asked = run.recipe.data.class_weights
    if asked is None:
        return {}
    likelihood = LIKELIHOODS[task.likelihood]
    if likelihood.labels_are_numbers or isinstance(task, OverVocabulary):
        raise run.recipe.mistake(
            PATH, f"`{run.recipe.task}` has no labels that could count unequally. Leave it out"
        )
    if asked == "balanced":
        # Labels do not depend on how a model reads: any encoding has them.
        labels = flat_labels(run.encode("labelled", task))
        weights = balanced(labels, len(task.labels))
    else:
        weights = named_weights(run, task, asked)
    run.store.tell_once(f"data: class weights: {told(task.labels, weights)}")
    return {"class_weights": weights}


def named_weights(run: RunContext, task: Task, asked: Mapping[str, float]) -> list[float]:
    """(V) what is asked for each label, or for the type of entity that a tag is of; 1 for others.

    Raises:
        ValueError: there is no such label.
    """
    check_weights(run.recipe, task.labels, task)
    types = types_of(task.labels, task)
    weights = []
    for label, kind in zip(task.labels, types, strict=True):
        # The tag itself says more than its type.
        weights.append(float(asked.get(label, asked.get(kind, 1.0))))
    return weights


def balanced(labels: Array, num_labels: int) -> list[float]:
    """(V) the weights of labels by how rare they are.

    Args:
        labels: (P) indices, or (P, V) of 0 and 1; UNKNOWN where nobody said.
        num_labels: V.
    """
    known = is_known(labels)
    if labels.ndim > 1:
        present = ((labels > 0) & known).sum(0)
        absent = known.sum(0) - present
        weights = absent / np.maximum(present, 1)
    else:
        present = np.bincount(labels[known], minlength=num_labels)
        weights = known.sum() / (num_labels * np.maximum(present, 1))
    # A label without a row has nothing that could count more.
    weights = np.where(present > 0, np.minimum(weights, MOST), 1.0)
    return [float(f"{weight:.{DIGITS}g}") for weight in weights]


def told(labels: Sequence[str], weights: Sequence[float]) -> str:
    """The weights in words, the largest first."""
    by_label = dict(zip(labels, weights, strict=True))
    ordered = sorted(by_label, key=by_label.__getitem__, reverse=True)
    return wording.some([f"{label} {by_label[label]:g}" for label in ordered])
