"""Mean squared error between logits:

    1/V sum_v (z_v - t_v)^2,   z the student's logits, t the teacher's

(Ba and Caruana, 2013, arXiv 1312.6184; Kim et al., 2021, arXiv 2105.08919, who find it ahead of
the KL divergence). 0 at identity.

Logits are not centred, as in both papers: the student takes over the sum of the teacher's logits
too, to which a softmax is blind. That is what it adds to `kl`, which goes to half the centred
error as T grows (Hinton et al., 2015, arXiv 1503.02531, section 2.1). It also matches the outputs
of a regression, V = 1.

Deviation: the mean over the labels, where the papers sum (the first halves it), so that one weight
serves any number of labels.
"""

from typing import ClassVar

from torch import Tensor

from limbeck.losses import UnitLoss, wide
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class LogitMse(UnitLoss):
    """Serves any likelihood: classes, sets of labels and numbers."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)
    likelihoods: ClassVar[tuple[str, ...]] = ("categorical", "bernoulli", "gaussian")

    def of_units(self, student: Outputs, teacher: Outputs, batch: Batch, progress: float) -> Tensor:
        """Squared logits a label."""
        # The student alone learns: no gradient to the teacher.
        target = wide(teacher.logits.detach())
        errors = wide(student.logits) - target
        # The mean over the labels, so that one weight serves any number of them.
        return errors.square().mean(-1)
