"""Which layers of the student learn from which of the teacher's, unless a recipe names them.

| `map_by` | student's layers | teacher's layers |
|---|---|---|
| uniform | evenly spaced, the last kept | the same |
| last | the last ones | the last ones, in their order |
| similarity | evenly spaced, the last kept | the most alike, in their order |

`uniform` is TinyBERT's (Jiao et al., 2020, arXiv 1909.10351, section 4.2). `similarity` takes the
teacher's layers whose linear CKA with the student's (`distillation.cka`) has the largest sum.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from limbeck.models.anatomy.layers import evenly

MapBy = Literal["uniform", "last", "similarity"]
Likeness = Callable[[], np.ndarray]
LayerPairs = list[tuple[str, str]]  # names of modules: the student's, the teacher's


@dataclass(frozen=True)
class Matching:
    """How a loss finds its pairs of layers.

    `layers`: how many of the student's layers are matched; 0 means as many as the smaller of the
    two models has. `map`: the student's modules to the teacher's by name; it goes before all else.
    `by`: a row of the table above.
    """

    layers: int = 0
    map: dict[str, str] | None = None
    by: MapBy = "uniform"

    def pairs(
        self,
        student: Sequence[str],
        teacher: Sequence[str],
        likeness: Likeness,
    ) -> LayerPairs:
        """The proposed (student's layer, teacher's layer) pairs.

        `student`, `teacher`: the names of each model's layers, first to last. `likeness()` gives
        (student's layers, teacher's layers), 1 for the most alike; it is slow, and is only asked
        by `similarity`.

        Raises ValueError where a model has no list of layers, or fewer than `layers`.
        """
        if self.map:
            return list(self.map.items())
        if not student or not teacher:
            side = "teacher" if student else "student"
            raise ValueError(
                f"the {side} has no ModuleList of layers. Name modules: {{map: {{a: b}}}}"
            )
        # As many as both models have, where the recipe says no number.
        count = self.layers or min(len(student), len(teacher))
        student_indices = evenly(count, len(student))
        teacher_indices = evenly(count, len(teacher))
        if self.by == "last":
            student_indices = list(range(len(student) - count, len(student)))
            teacher_indices = list(range(len(teacher) - count, len(teacher)))
        if self.by == "similarity":
            teacher_indices = most_alike(likeness()[student_indices])
        return [
            (student[own], teacher[other])
            for own, other in zip(student_indices, teacher_indices, strict=True)
        ]


def most_alike(likeness: np.ndarray) -> list[int]:
    """For each row of `likeness` (K, L), K <= L, a column, so that columns increase from row to
    row and the sum of the chosen entries is the largest that this allows.

    >>> most_alike(np.array([[0.1, 0.9, 0.2], [0.0, 0.8, 0.3]]))
    [1, 2]
    """
    num_rows, num_columns = likeness.shape
    # best[r, c]: the largest sum of the first r rows within the first c columns.
    best = np.full((num_rows + 1, num_columns + 1), -np.inf)
    best[0] = 0.0
    for row in range(num_rows):
        for column in range(num_columns):
            without_column = best[row + 1, column]
            with_column = best[row, column] + likeness[row, column]
            best[row + 1, column + 1] = max(without_column, with_column)
    # Back from the end: a column was taken where leaving it out would have cost something.
    chosen: list[int] = []
    column = num_columns
    for row in range(num_rows, 0, -1):
        while best[row, column] == best[row, column - 1]:
            column -= 1
        column -= 1
        chosen.append(column)
    return chosen[::-1]
