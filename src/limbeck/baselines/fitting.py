"""Fit a baseline on train, with the strength that validation likes best, and let it answer.

What rows hold says which baseline is theirs (`words`, `pixels`, `tag_table`, `vectors`), and the
task's likelihood what its answers are. Shapes: N rows, P units, V logits.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from limbeck.baselines.linear import linear_candidates
from limbeck.baselines.tag_table import TagTable
from limbeck.baselines.vectors import vector_candidates
from limbeck.evaluation.scores import quality
from limbeck.sources import Row
from limbeck.tasks import Scored, SelfSupervised, Task, metrics

# Of more training rows so many are drawn, by a fixed seed: a linear model of words gains little
# beyond, and takes minutes.
MOST_ROWS = 20_000
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
        drawn = np.sort(np.random.default_rng(0).permutation(len(self.rows))[:most])
        units = [np.arange(self.offsets[row], self.offsets[row + 1]) for row in drawn]
        sizes = [len(of_row) for of_row in units]
        return Labelled(
            [self.rows[row] for row in drawn],
            self.labels[np.concatenate(units)],
            np.concatenate([[0], np.cumsum(sizes)]),
        )


def fits(task: Any) -> bool:
    """Whether there is a baseline for a task (its class, or one of its objects)."""
    has_rows = bool({"text", "words", "image"} & set(task.row_keys))
    kind = task if isinstance(task, type) else type(task)
    return has_rows and not issubclass(kind, SelfSupervised)


def best_baseline(
    task: Task,
    train: Labelled,
    validation: Labelled,
    metric: str,
) -> tuple[Candidate, float]:
    """The baseline that scores best on validation, and what it scores there.

    Of equal ones the first, which is the most strongly regularized.

    Args:
        task: which `fits`.
        train: the labelled rows; a sample of `MOST_ROWS` of them is learned from.
        validation: what chooses the strength.
        metric: of the task, by which it is chosen.
    """
    sign = metrics.sign(metric)
    best: tuple[Candidate, float] | None = None
    read = None
    for candidate in candidates(task, train.sample(MOST_ROWS)):
        if read is None:
            read = candidate.read(validation.rows)
        logits = candidate.logits(read)
        scored = Scored(logits, validation.labels, validation.offsets)
        value = quality(scored, task)[metric]
        if best is None or sign * value > sign * best[1]:
            best = (candidate, value)
    assert best is not None
    return best


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
