"""Rows whose given label teacher and student both doubt: probable mistakes of whoever labelled
them, for a person to look at.

Confident learning (Northcutt et al., 2021, arXiv 1911.00068, section 3.1): a class j is believed of
a row where its probability is at least what it is on the average of the rows that are labelled j. A
row is suspected where both models believe the same other class, and the suspects are ordered by how
little is left of the given label.

Deviation: the paper takes one model by cross-validation. Here neither has seen the row's label,
since the rows are those of the test split, and two models must agree.

Shapes: P units, V labels.
"""

from dataclasses import dataclass

import numpy as np

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
    """The units in doubt, the surest first; none for tasks without one label of several."""
    if task.likelihood != "categorical":
        return []
    # 1. What both believe of each unit that has a label.
    known = np.flatnonzero(is_known(teacher.labels))
    labels = teacher.labels[known]
    both = [softmax(scored.logits[known]) for scored in (teacher, student)]
    likely = [believed(each, labels) for each in both]
    # -1 is no belief, which two models may share.
    in_doubt = (likely[0] == likely[1]) & (likely[0] >= 0) & (likely[0] != labels)
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
