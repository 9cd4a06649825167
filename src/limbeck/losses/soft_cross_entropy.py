"""Cross-entropy of the student against the teacher's softened answers:

    - T^2 sum_v p_v log q_v
    p = softmax(teacher / T), q = softmax(student / T), T the temperature

(Hinton, Vinyals, Dean, 2015, arXiv 1503.02531, section 2). Its gradient is that of `kl`. Its value
is larger by T^2 times the teacher's entropy, so it is not 0 at identity.
"""

from typing import ClassVar

from torch import Tensor

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import UnitLoss, softened
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class SoftCrossEntropy(UnitLoss):
    """`temperature`: T > 0, a number or a schedule over the training."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)
    zero_at_identity: ClassVar[bool] = False

    def __init__(self, temperature: ScheduledAbove0 = 2.0) -> None:
        super().__init__()
        self.temperature = schedule(temperature)

    def of_units(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor:
        """Nats a unit, times T^2."""
        temperature = self.temperature(progress)
        log_q, log_p = softened(student, teacher, temperature)
        # Without the teacher's entropy, which no gradient of the student's depends on.
        p = log_p.exp()
        nats = -(p * log_q).sum(-1)
        # Softening by T divides the gradient by T^2.
        return temperature**2 * nats
