"""Rows whose given label teacher and student both doubt: probable mistakes of whoever labelled
them, for a person to look at.

Confident learning (Northcutt et al., 2021, arXiv 1911.00068, section 3.1): a class j is believed of
a row where its probability is at least what it is on the average of the rows that are labelled j. A
row is suspected where both models answer and believe the same other class, and the suspects are
ordered by how little is left of the given label.

Deviations: the paper takes one model by cross-validation. Here neither has seen the row's label,
since the rows are those of the test split, and two models must agree. A class must also be what
they answer: of a seldom class that nobody answers the average is small, and a fifth of all rows
reach it. A model that is not better than the most frequent label doubts nothing, as chance would.

Shapes: P units, V labels.
"""

from dataclasses import dataclass

import numpy as np

from limbeck.evaluation import paired
from limbeck.evaluation.bootstrap import ALPHA
from limbeck.tasks import Scored, Task
from limbeck.tasks.likelihood import is_known, softmax


@dataclass(frozen=True)
class Suspect:
    """A unit whose label is in doubt.

    `row`: its number. `unit`: its place in the row, such as a word's. `given`, `likely`: indices of
    labels. `teacher`, `student`: the probability that each gives to the given label.
    """

    row: int
    unit: int
    given: int
    likely: int
    teacher: float
    student: float


def suspects(task: Task, teacher: Scored, student: Scored) -> list[Suspect]:
    """The units in doubt, the surest first; none for tasks without one label of several, and none
    where either model is not shown to know more than which label is the most frequent."""
    if task.likelihood != "categorical":
        return []
    # 1. What both believe of each unit that has a label.
    known = np.flatnonzero(is_known(teacher.labels))
    labels = teacher.labels[known]
    models = (teacher, student)
    answers = [task.decisions(scored)[known] for scored in models]
    if not all(is_above_chance(each, labels) for each in answers):
        return []
    both = [softmax(scored.logits[known]) for scored in models]
    likely = [believed(each, labels) for each in both]
    # -1 is no belief, which two models may share, and nobody's answer.
    agreed = (likely[0] == likely[1]) & (likely[0] == answers[0]) & (likely[1] == answers[1])
    in_doubt = agreed & (likely[0] != labels)
    # 2. Those first to whose label both give the least.
    of_given = [each[np.arange(len(labels)), labels] for each in both]
    chosen = np.flatnonzero(in_doubt)
    order = np.argsort((of_given[0] + of_given[1])[chosen], kind="stable")
    found = []
    for number in chosen[order].tolist():
        place = int(known[number])
        row = int(np.searchsorted(teacher.offsets, place, "right")) - 1
        suspect = Suspect(
            row=row,
            unit=place - int(teacher.offsets[row]),
            given=int(labels[number]),
            likely=int(likely[0][number]),
            teacher=float(of_given[0][number]),
            student=float(of_given[1][number]),
        )
        found.append(suspect)
    return found


def is_above_chance(answers: np.ndarray, labels: np.ndarray) -> bool:
    """Whether a test rejects, at 5 %, that answers (P) are no better than the most frequent label
    for every unit."""
    if not len(labels):
        return False
    most_frequent = np.bincount(labels).argmax()
    lead = paired.changes_of(answers == labels, most_frequent == labels)
    return paired.p_of_larger_drop(lead.swapped, 0.0) <= ALPHA


def believed(shares: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(P) the most probable of the classes that are believed, -1 where none is; `shares` (P, V)."""
    num_labels = shares.shape[1]
    # A class that no unit has is never believed: nothing says what sure means of it.
    thresholds = np.full(num_labels, np.inf)
    for label in np.unique(labels):
        thresholds[label] = shares[labels == label, label].mean()
    # The paper's "confident joint": of several believed classes the most probable counts.
    candidates = np.where(shares >= thresholds, shares, -1.0)
    best = candidates.argmax(1)
    chosen: np.ndarray = np.where(candidates.max(1) >= 0, best, -1)
    return chosen
