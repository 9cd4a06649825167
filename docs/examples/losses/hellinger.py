"""Squared Hellinger distance of the student's and the teacher's probabilities:

    1 - sum_v sqrt(p_v q_v),   p = softmax(teacher), q = softmax(student)

(Hellinger, 1909). Between 0 and 1, and 0 at identity.
"""

from typing import ClassVar

from torch import Tensor

from limbeck.losses import PlainLoss, masked_mean, softened
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class Hellinger(PlainLoss):
    """The loss. It has no keys."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)

    def __call__(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor:
        """The mean over the units that count."""
        log_q, log_p = softened(student, teacher, temperature=1.0)
        # Of logarithms: a probability of 0 has a square root without a finite gradient.
        overlap = (0.5 * (log_p + log_q)).exp().sum(-1)
        return masked_mean(1 - overlap, student.mask & teacher.mask)
