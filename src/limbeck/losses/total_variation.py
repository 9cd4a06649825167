"""Total variation distance of the student's and the teacher's probabilities:

    1/2 sum_v |p_v - q_v|,   p = softmax(teacher), q = softmax(student)

the most by which the two differ on any set of labels, between 0 and 1 (f-DISTILL, Wen et al.,
2023, arXiv 2307.15190). 0 at identity.

Its gradient stays bounded where the student all but rules out a label of the teacher's, and
vanishes where both are certain of different labels: start from a student that is not certain, or
add `kl`.
"""

from typing import ClassVar

from torch import Tensor

from limbeck.losses import UnitLoss, softened
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class TotalVariation(UnitLoss):
    """Compares probabilities as they are, at temperature 1."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)

    def of_units(self, student: Outputs, teacher: Outputs, batch: Batch, progress: float) -> Tensor:
        """Between 0 and 1."""
        # No temperature: the distance is of the answers as they are given.
        log_q, log_p = softened(student, teacher, 1.0)
        q = log_q.exp()
        p = log_p.exp()
        differences = (q - p).abs()
        return 0.5 * differences.sum(-1)
