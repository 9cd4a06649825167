"""Rows that a student answers otherwise than its teacher, and which of the two is right.

Shapes: N rows, P units.
"""

from dataclasses import dataclass

import numpy as np

from limbeck.evaluation.by_row import any_by_row, is_wrong, sums_by_row
from limbeck.evaluation.paired import Changes, changes_of
from limbeck.tasks import Scored, Task
from limbeck.tasks.likelihood import LIKELIHOODS, is_known


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


def changed_units(
    task: Task,
    teacher: Scored,
    student: Scored,
) -> np.ndarray:
    """(P) whether teacher and student answer a unit otherwise; not where its label is unknown."""
    differs = task.decisions(teacher) != task.decisions(student)
    # Of a label that nobody knows neither answer is right.
    changed = differs & is_known(teacher.labels)
    # Several labels of one unit are one answer.
    by_unit = changed.reshape(len(changed), -1)
    found: np.ndarray = by_unit.max(1, initial=False)
    return found


@dataclass(frozen=True)
class ChangedRows:
    """The numbers of the rows that teacher and student answer otherwise, by who is right.

    `teacher`, `student`: those that one of the two alone has right, which are lost and won.
    `neither`: both are wrong, each in its own way. Each list begins with the row whose label
    changed its probability most. `changes`: the counts; None where rows cannot be right.
    """

    changes: Changes | None
    teacher: list[int]
    student: list[int]
    neither: list[int]


def changed_rows(
    task: Task,
    teacher: Scored,
    student: Scored,
) -> ChangedRows:
    """The rows that the student answers otherwise than its teacher; of numbers those whose error
    changed by more than the teacher's own error is on average."""
    # What the student lost on a row that the teacher finds hard too is not held against it twice.
    before = nats(task, teacher)
    risen = nats(task, student) - before
    if has_right_rows(task):
        was_right = right_rows(task, teacher)
        is_right = right_rows(task, student)
        changes = changes_of(was_right, is_right)
        lost = was_right & ~is_right
        won = is_right & ~was_right
        units = changed_units(task, teacher, student)
        differs = any_by_row(units, teacher.offsets)
        neither = differs & ~was_right & ~is_right
    else:
        changes = None
        error = before.mean()
        lost = risen > error
        won = -risen > error
        # Numbers are met more or less well, and none is wrong.
        neither = np.zeros(len(risen), bool)
    return ChangedRows(
        changes,
        teacher=largest_first(lost, risen),
        student=largest_first(won, -risen),
        neither=largest_first(neither, np.abs(risen)),
    )


def largest_first(chosen: np.ndarray, values: np.ndarray) -> list[int]:
    """The numbers of chosen rows (N; bool), those of the largest values (N) first."""
    numbers = np.flatnonzero(chosen)
    # Stable, so that equal rows stand in their order.
    order = np.argsort(-values[numbers], kind="stable")
    found: list[int] = numbers[order].tolist()
    return found
