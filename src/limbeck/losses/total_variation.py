"""Total variation distance 1/2 sum_v |p_v - q_v| of p = softmax(teacher) and q = softmax(student): the most by which the two differ on any set of
labels, between 0 and 1 (f-DISTILL, Wen et al., 2023, arXiv 2307.15190). 0 at identity. Its gradient stays bounded where the student all but rules out
a label of the teacher's, and vanishes where both are certain of different labels: start from a student that is not, or add `kl`.
"""

from typing import ClassVar

import torch

from limbeck.losses import masked_mean, softened
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class TotalVariation(torch.nn.Module):
    """No keys."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Between 0 and 1."""
        log_q, log_p = softened(student, teacher, 1.0)
        return masked_mean(
            0.5 * (log_q.exp() - log_p.exp()).abs().sum(-1), student.mask & teacher.mask
        )
