"""The teacher's order of the labels, as a hinge on pairs. For each of the teacher's `top` first
labels i and each label j that it puts behind i:

    max(0, min(margin, t_i - t_j) - (z_i - z_j)),   z the student's logits, t the teacher's

the mean over the unit's pairs. A teacher's ranking with its head alone is ranking distillation's
idea (Tang and Wang, 2018, arXiv 1809.07428), the hinge on pairs that of the ranking support vector
machine (Joachims, 2002, KDD). Only order and the margin count: by how much more than the margin
two labels are apart is left to the student.

Deviations:
- The first paper pulls its top items up one by one by a logistic loss, without pairs.
- The margin is at most the teacher's own gap, where the second has 1 for every pair: a student is
  not asked to be surer than its teacher, and the loss is 0 at identity.
- Labels that the teacher ties make no pair. A unit costs top x V gaps, not V x V.
"""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from limbeck.losses import UnitLoss, wide
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class RankHinge(UnitLoss):
    """`margin`: the gap between two logits that is enough. `top`: how many of the teacher's first
    labels must lead those behind them."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(
        self,
        margin: Annotated[float, Field(gt=0)] = 1.0,
        top: Annotated[int, Field(ge=1)] = 10,
    ) -> None:
        super().__init__()
        self.margin = margin
        self.top = top

    def of_units(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor:
        """Logits a pair, from 0 on."""
        # The teacher's side is detached: the loss moves the student alone.
        teacher_logits = wide(teacher.logits.detach())
        count = min(self.top, teacher_logits.shape[-1])
        first = teacher_logits.topk(count, -1).indices
        student_logits = wide(student.logits)
        student_gaps = gaps_behind(student_logits, first)
        teacher_gaps = gaps_behind(teacher_logits, first)
        # Ties, and those before it, make no pair with a label.
        is_behind = teacher_gaps > 0
        wanted_gaps = teacher_gaps.clamp_max(self.margin)
        too_small_by = (wanted_gaps - student_gaps).relu()
        missing = too_small_by * is_behind
        # At least 1: a teacher that ties all labels puts none behind another.
        num_pairs = is_behind.sum((-2, -1)).clamp_min(1)
        return missing.sum((-2, -1)) / num_pairs


def gaps_behind(logits: Tensor, first: Tensor) -> Tensor:
    """(B, W, top, V) by how much the labels `first` (B, W, top) lead every label of (B, W, V)."""
    leading = logits.gather(-1, first)
    return leading.unsqueeze(-1) - logits.unsqueeze(-2)
