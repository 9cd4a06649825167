"""Fit a baseline on train, with the strength that validation likes best, and let it answer.

What rows hold says which baseline is theirs (`words`, `pixels`, `tag_table`, `vectors`), and the
task's likelihood what its answers are. Shapes: N rows, P units, V logits.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np

from limbeck.baselines.linear import linear_candidates
from limbeck.baselines.tag_table import TagTable
from limbeck.baselines.vectors import vector_candidates
from limbeck.evaluation.scores import quality
from limbeck.sources import Row
from limbeck.tasks import OverVocabulary, Scored, Task, metrics

# Of more training rows so many are drawn, by a fixed seed: a linear model of words gains little
# beyond, and takes minutes.
MOST_ROWS = 20_000
# With fewer rows of validation than these the strength is chosen by turns on train: on nine rows
# several strengths have all right, and the one that was taken had .63 on test, another .84.
FEW = 200
FOLDS = 5
# The `auto_model` of tasks whose answer is a vector of a text.
ENCODER = "AutoModel"


class Candidate(Protocol):
    """A fitted baseline. `title`: what it is, in words; `num_parameters`: its numbers."""

    @property
    def title(self) -> str: ...

    @property
    def num_parameters(self) -> int: ...

    def read(self, rows: Sequence[Row]) -> Any:
        """What it looks at of the rows: the same for every strength."""
        ...

    def logits(self, read: Any) -> np.ndarray:
        """(P, V) of the units of rows that were read."""
        ...


@dataclass(frozen=True)
class Labelled:
    """Rows of a split, with the labels of their units as the task has them.

    `labels`: (P) or (P, V). `offsets`: (N + 1), as in `Scored`.
    """

    rows: Sequence[Row]
    labels: np.ndarray
    offsets: np.ndarray

    def sample(self, most: int) -> "Labelled":
        """At most so many rows, drawn by a fixed seed, in their order."""
        if len(self.rows) <= most:
            return self
        return self.take(np.sort(self.shuffled()[:most]))

    def shuffled(self) -> np.ndarray:
        """Its row numbers in an order that a fixed seed draws."""
        return np.random.default_rng(0).permutation(len(self.rows))

    def take(self, rows: np.ndarray) -> "Labelled":
        """The rows of these numbers, in their order, with their units."""
        units = []
        for row in rows:
            first, end = self.offsets[row : row + 2]
            units.append(np.arange(first, end))
        sizes = [len(of_row) for of_row in units]
        return Labelled(
            [self.rows[row] for row in rows],
            self.labels[np.concatenate(units)],
            np.concatenate([[0], np.cumsum(sizes)]),
        )


def fits(task: Any) -> bool:
    """Whether there is a baseline for a task (its class, or one of its objects)."""
    has_rows = bool({"text", "words", "image"} & set(task.row_keys))
    kind = task if isinstance(task, type) else type(task)
    return has_rows and not issubclass(kind, OverVocabulary)


def best_baseline(
    task: Task,
    train: Labelled,
    validation: Labelled,
    metric: str,
) -> tuple[Candidate, float]:
    """The baseline of the strength that does best, and what it scores on validation.

    Of equal ones the first, which is the most strongly regularized.

    Args:
        task: which `fits`.
        train: the labelled rows; a sample of `MOST_ROWS` of them is learned from.
        validation: what chooses the strength; `FEW` rows leave that to train.
        metric: of the task, by which it is chosen.
    """
    train = train.sample(MOST_ROWS)
    fitted: Iterable[Candidate] = candidates(task, train)
    if len(validation.rows) < FEW and len(train.rows) >= FOLDS:
        values = out_of_fold(task, train, metric)
        best = max(range(len(values)), key=lambda index: values[index])
        # Those behind it are not fitted.
        fitted = islice(fitted, best, best + 1)
    sign = metrics.sign(metric)
    chosen: tuple[Candidate, float] | None = None
    read = None
    for candidate in fitted:
        if read is None:
            read = candidate.read(validation.rows)
        value = score(task, candidate.logits(read), validation, metric)
        if chosen is None or sign * value > sign * chosen[1]:
            chosen = (candidate, value)
    assert chosen is not None
    return chosen


def out_of_fold(
    task: Task,
    train: Labelled,
    metric: str,
) -> list[float]:
    """How well each candidate answers the rows of train, each by a fit that did not see it; more
    is better, whatever the metric."""
    folds = np.array_split(train.shuffled(), FOLDS)
    logits: list[list[np.ndarray]] = []
    for fold in folds:
        others = train.take(np.setdiff1d(np.arange(len(train.rows)), fold))
        held = train.take(fold)
        for index, candidate in enumerate(candidates(task, others)):
            # Every fold has the same candidates in the same order.
            if index == len(logits):
                logits.append([])
            logits[index].append(candidate.logits(candidate.read(held.rows)))
    answered = train.take(np.concatenate(folds))
    sign = metrics.sign(metric)
    values = []
    for parts in logits:
        value = score(task, np.concatenate(parts), answered, metric)
        values.append(sign * value)
    return values


def score(
    task: Task,
    logits: np.ndarray,
    rows: Labelled,
    metric: str,
) -> float:
    """What logits (P, V) of the units of rows are worth."""
    scored = Scored(logits, rows.labels, rows.offsets)
    return quality(scored, task)[metric]


def candidates(task: Task, train: Labelled) -> Iterator[Candidate]:
    """Baselines of every strength, fitted one after the other, from the strongest regularization
    on."""
    # scikit-learn says where it stops before the last digit, which no baseline needs.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "words" in task.row_keys:
            yield TagTable.fit(train.rows, train.labels, len(task.labels))
        elif task.auto_model == ENCODER:
            yield from vector_candidates(train.rows)
        else:
            yield from linear_candidates(task, train.rows, train.labels)
