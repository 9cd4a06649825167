"""Which layers of the student learn from which of the teacher's, where a recipe does not map them by name.

| `map_by` | student | teacher |
|---|---|---|
| uniform | evenly spaced, the last kept | the same (TinyBERT, Jiao et al., 2020, arXiv 1909.10351, section 4.2) |
| last | the last ones | the last ones, in their order |
| similarity | evenly spaced, the last kept | the most alike by linear CKA (`likeness`), summed over the pairs, in their order |
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from limbeck.models.layers import evenly

MapBy = Literal["uniform", "last", "similarity"]
Likeness = Callable[[], np.ndarray]


@dataclass(frozen=True)
class Matching:
    """`layers` of the student, 0 for all; `map`: modules of the student to modules of the teacher, by name, in their place."""

    layers: int = 0
    map: dict[str, str] | None = None
    by: MapBy = "uniform"

    def pairs(
        self, student: Sequence[str], teacher: Sequence[str], likeness: Likeness
    ) -> list[tuple[str, str]]:
        """The proposed (student layer, teacher layer) pairs; `likeness()` gives (student layers, teacher layers), read where it decides.

        Raises ValueError where one of the two has no list of layers.
        """
        if self.map:
            return list(self.map.items())
        if not student or not teacher:
            raise ValueError(
                f"the {'teacher' if student else 'student'} has no ModuleList of layers. Name modules: {{map: {{a: b}}}}"
            )
        count = self.layers or min(len(student), len(teacher))
        own, theirs = evenly(count, len(student)), evenly(count, len(teacher))
        if self.by == "last":
            own, theirs = (
                list(range(len(names) - count, len(names))) for names in (student, teacher)
            )
        if self.by == "similarity":
            theirs = most_alike(likeness()[own])
        return [(student[i], teacher[j]) for i, j in zip(own, theirs, strict=True)]


def most_alike(likeness: np.ndarray) -> list[int]:
    """For each row of `likeness` (K, L >= K) a column, increasing, so that their sum is the largest."""
    count, columns = likeness.shape
    best = np.full((count + 1, columns + 1), -np.inf)  # of the first rows in the first columns
    best[0] = 0.0
    for row in range(count):
        for column in range(columns):
            best[row + 1, column + 1] = max(
                best[row + 1, column], best[row, column] + likeness[row, column]
            )
    chosen, column = list[int](), columns
    for row in range(count, 0, -1):
        while best[row, column] == best[row, column - 1]:
            column -= 1
        column -= 1
        chosen.append(column)
    return chosen[::-1]
