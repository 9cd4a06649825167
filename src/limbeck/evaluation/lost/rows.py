"""Rows that only the teacher, or only the student, answers rightly.

Shapes: N rows, P units.
"""

from dataclasses import dataclass

import numpy as np

from limbeck.evaluation.by_row import any_by_row, is_wrong, sums_by_row
from limbeck.evaluation.paired import Changes, changes_of
from limbeck.tasks import Scored, Task
from limbeck.tasks.likelihood import LIKELIHOODS


def has_right_rows(task: Task) -> bool:
    """Whether a row can be right: labels that are numbers are only met more or less well."""
    return not LIKELIHOODS[task.likelihood].labels_are_numbers


def has_nats(task: Task, scored: Scored) -> bool:
    """Whether a unit's own output is held against its label: not where labels say how alike two
    vectors are, or which of many items belongs to a text."""
    labels_are_numbers = LIKELIHOODS[task.likelihood].labels_are_numbers
    return not labels_are_numbers or scored.logits.size == scored.labels.size


def wrong_units(task: Task, scored: Scored) -> np.ndarray:
    """(P) whether a unit is decided otherwise than its label says; not where that is unknown."""
    wrong = is_wrong(task.decisions(scored), scored.labels)
    # Several labels of one unit are one answer.
    found: np.ndarray = wrong.reshape(len(wrong), -1).max(1, initial=False)
    return found


def right_rows(task: Task, scored: Scored) -> np.ndarray:
    """(N) whether every unit of a row is right."""
    return ~any_by_row(wrong_units(task, scored), scored.offsets)


def nats(task: Task, scored: Scored) -> np.ndarray:
    """(N) how much less probable each row's labels are than if they were met exactly, in nats, at
    least 0; of numbers half of their squared error."""
    likelihood = LIKELIHOODS[task.likelihood]
    log_probability = likelihood.log_probability(scored.logits, scored.labels)
    if likelihood.labels_are_numbers:
        # The density of a number that is met exactly is not 1, and its logarithm not 0.
        exact = scored.labels.reshape(scored.logits.shape)
        log_probability = log_probability - likelihood.log_probability(exact, scored.labels)
    return -sums_by_row(log_probability, scored.offsets)


@dataclass(frozen=True)
class Lost:
    """What changed between teacher and student.

    `changes`: rows that one of the two has right; None where rows cannot be right. `worst`: the
    numbers of the lost rows, the one first whose label lost most of its probability.
    """

    changes: Changes | None
    worst: list[int]


def lost_rows(task: Task, teacher: Scored, student: Scored) -> Lost:
    """The rows that the teacher answers rightly and the student wrongly, worst first; of numbers
    those whose error grew by more than the teacher's own error is on average."""
    # What the student lost on a row that the teacher finds hard too is not held against it twice.
    risen = nats(task, student) - nats(task, teacher)
    if has_right_rows(task):
        before, after = right_rows(task, teacher), right_rows(task, student)
        lost = before & ~after
        changes = changes_of(before, after)
    else:
        lost = risen > nats(task, teacher).mean()
        changes = None
    numbers = np.flatnonzero(lost)
    # Stable, so that equal rows stand in their order.
    order = np.argsort(-risen[numbers], kind="stable")
    return Lost(changes, numbers[order].tolist())
