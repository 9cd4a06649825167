"""A student cut from its teacher: `cut(teacher, evidence) -> Cut`, a new model, and its preprocessing where that is another; the teacher stays.

Matrices are really smaller; nothing is masked. What a model's config cannot tell of its new shape is found when it is saved (`limbeck.models.structure`).
A surgery that looks at the training rows says so by `reads_rows`, and names any other file that it reads in `files`: the stage's key holds both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from torch import nn

from limbeck.data.batches import batches_of
from limbeck.sources import Row
from limbeck.tasks import Batch, Task

ROWS = 256  # that importance is judged by


class Cut(NamedTuple):
    """`preprocess`: the text of the student's preprocessing, or None for the teacher's own."""

    student: nn.Module
    preprocess: str | None = None


@dataclass(frozen=True)
class Evidence:
    """What a surgery may look at: the teacher's task and the training rows."""

    task: Task
    rows: Sequence[Row]

    @cached_property
    def batches(self) -> list[Batch]:
        """ROWS of the rows, drawn by a fixed seed, as batches of torch tensors."""
        drawn = np.sort(np.random.default_rng(0).permutation(len(self.rows))[:ROWS])
        return batches_of(self.task.encode([self.rows[i] for i in drawn]), self.task)


class Surgery(Protocol):
    """One file, one surgery; its keys are checked where they meet the teacher. Raises ValueError there."""

    @property
    def reads_rows(self) -> bool: ...

    @property
    def files(self) -> Sequence[str]: ...

    def cut(self, teacher: nn.Module, evidence: Evidence) -> Cut: ...
