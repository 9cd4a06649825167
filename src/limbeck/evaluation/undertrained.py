"""Signs that a model was trained too little, each in words with its cure.

They are no proof of a bad model: a verdict that finds one is not green, for what it kept may be
what the teacher never learned. Shapes: P units, V labels.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from limbeck.sources._cells.tags import type_of
from limbeck.tasks import OverVocabulary, Scored, Task, metrics
from limbeck.tasks.likelihood import LIKELIHOODS, is_known

# A label that fewer test rows have may well be missed by a good model.
FEWEST_ROWS = 10
# One with fewer is not even told: its only row may be a slip.
FEWEST_TOLD = 2
# A training of fewer steps has hardly left its start, whatever its rate.
FEWEST_STEPS = 100
# What a training that is too short is to be given: so many steps in all, and in an epoch.
ENOUGH_STEPS = 400
ENOUGH_OF_EPOCH = 20
# What a metric rises by in the last quarter before it counts as rising: beyond two standard errors
# of a share on so many validation rows (at most 1 / sqrt(n)), and beyond a hundredth.
LEAST_RISE = 0.01

History = Sequence[Mapping[str, Any]]


def named(task: Task, labels: Sequence[str]) -> list[str]:
    """What labels are called here: of tags their types."""
    if "words" in task.row_keys:
        return [type_of(label) for label in labels]
    return list(labels)


def never_answered(scored: Scored, task: Task, fewest: int = FEWEST_ROWS) -> dict[str, int]:
    """The labels that at least `fewest` test rows have and no row gets, each with that number.

    Of tags it is types of entities, and rows are sentences: a type that stands at 48 words may
    stand in 16 of them. None of numbers and vectors, nor of a vocabulary, most of which nobody
    says.
    """
    if LIKELIHOODS[task.likelihood].labels_are_numbers or isinstance(task, OverVocabulary):
        return {}
    decisions = task.decisions(scored)
    known = is_known(scored.labels)
    # One label of several has an index for each unit, several labels a column each.
    if decisions.ndim == 1:
        units = np.flatnonzero(known)
        labels, answered = scored.labels[known], decisions[known]
    else:
        units, labels = np.nonzero((scored.labels > 0) & known)
        answered = np.nonzero(decisions & known)[1]
    # 1. Names in the order of the labels, and the name of each label.
    names = named(task, task.labels)
    place_of_name = {name: place for place, name in enumerate(dict.fromkeys(names))}
    place_of_label = np.array([place_of_name[name] for name in names])
    # 2. A row counts once for a name, at however many of its words that stands.
    lengths = np.diff(scored.offsets)
    row_of_unit = np.repeat(np.arange(len(lengths)), lengths)
    pairs = np.stack([place_of_label[labels], row_of_unit[units]], 1)
    size = len(place_of_name)
    num_rows = np.bincount(np.unique(pairs, axis=0)[:, 0], minlength=size).tolist()
    is_answered = np.bincount(place_of_label[answered], minlength=size) > 0
    return {
        name: num_rows[place]
        for name, place in place_of_name.items()
        if num_rows[place] >= fewest and not is_answered[place]
    }


def steps_of(history: History) -> int:
    """How many steps a training took; 0 where nothing was trained."""
    return max((int(point["step"]) for point in history), default=0)


def ended_early(history: History) -> bool:
    """Whether a training ended because no better epoch came (`train.patience`)."""
    return any(point.get("kept", {}).get("ended") == "patience" for point in history)


def was_cut(history: History) -> bool:
    """Whether a training ended because its share of `train.minutes` was used up."""
    return any(point.get("ended") == "minutes" for point in history)


def rise_at_the_end(history: History, metric: str, num_rows: int) -> float | None:
    """By how much the metric on validation was still rising; None where it was not, or where that
    many validation rows cannot show it.

    The last epoch is compared with the best one of the first three quarters of the steps.
    """
    sign = metrics.sign(metric)
    seen: list[tuple[int, float]] = []
    for point in history:
        value = point.get("validation", {}).get(metric)
        if value is not None:
            seen.append((int(point["step"]), sign * float(value)))
    if not seen:
        return None
    # By steps, not epochs: the last epoch may be a short one.
    end, last = seen[-1]
    before = [value for step, value in seen if step <= 0.75 * end]
    if not before:
        return None
    rise = last - max(before)
    needed = max(LEAST_RISE, 1 / math.sqrt(num_rows))
    return rise if rise > needed and last == max(value for _, value in seen) else None


def signs(
    history: History,
    metric: str,
    num_rows: int,
    key: str,
) -> list[str]:
    """What a training's history says against its length, in words.

    Args:
        history: what it logged, as metrics.jsonl has it.
        metric: that the verdict is about.
        num_rows: of validation.
        key: of the recipe, which lengthens it.
    """
    # One that waited in vain for a better epoch was not too short.
    if ended_early(history):
        return []
    if was_cut(history):
        return ["ended when its minutes were used up: raise train.minutes"]
    steps = steps_of(history)
    # A teacher that came tuned was not trained here.
    if not steps:
        return []
    found = []
    if steps < FEWEST_STEPS:
        found.append(f"was trained for {steps} steps, which is too few: raise {key}")
    rise = rise_at_the_end(history, metric, num_rows)
    if rise is not None:
        found.append(
            f"was still learning when its training ended ({metric} on validation better by "
            f"{rise:.4f} in the last quarter): raise {key}"
        )
    return found
