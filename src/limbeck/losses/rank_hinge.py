"""The teacher's order of the labels, as a hinge on pairs. For each of the teacher's `top` first labels i and each label j that it puts behind i:

    max(0, min(margin, t_i - t_j) - (z_i - z_j)),   z the student's logits, t the teacher's; the mean over the unit's pairs

A teacher's ranking with its head alone is ranking distillation's idea (Tang and Wang, 2018, arXiv 1809.07428), the hinge on pairs that of the ranking
support vector machine (Joachims, 2002, KDD). Only order and the margin count: gaps wider than it are the student's own.

Deviations: the first paper pulls its top items up one by one by a logistic loss, without pairs. The margin is at most the teacher's own gap, where
the second has 1 for every pair: a student is not asked to be surer than its teacher, and the loss is 0 at identity. Labels that the teacher ties make
no pair. A unit costs top x V gaps, not V x V.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field

from limbeck.losses import masked_mean, wide
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class RankHinge(torch.nn.Module):
    """`margin`: the gap between two logits that is enough. `top`: how many of the teacher's first labels must lead those behind them."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(
        self, margin: Annotated[float, Field(gt=0)] = 1.0, top: Annotated[int, Field(ge=1)] = 10
    ) -> None:
        super().__init__()
        self.margin, self.top = margin, top

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Logits a pair, from 0 on."""
        own, theirs = wide(student.logits), wide(teacher.logits.detach())
        first = theirs.topk(min(self.top, theirs.shape[-1]), -1).indices
        own_gaps, gaps = (
            logits.gather(-1, first).unsqueeze(-1) - logits.unsqueeze(-2)
            for logits in (own, theirs)
        )  # (B, W, top, V)
        short = (gaps.clamp_max(self.margin) - own_gaps).relu() * (gaps > 0)
        pairs = (gaps > 0).sum((-2, -1)).clamp_min(1)
        return masked_mean(short.sum((-2, -1)) / pairs, student.mask & teacher.mask)
