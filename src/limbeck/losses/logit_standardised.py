"""`kl` on standardised logits:

    T^2 sum_v p_v (log p_v - log q_v),   p = softmax(Z(teacher) / T), q = softmax(Z(student) / T)
    Z(z) = (z - mean_v z) / deviation_v z

(Sun et al., 2024, arXiv 2403.01427). The student keeps a scale and an offset of its own: the loss
is 0 wherever its logits are the teacher's up to those, so at identity too. The deviation is that
of the V labels themselves (divided by V, not V - 1).

Deviation from the paper: the square of the deviation is at least 1e-6. Logits that are all alike
have none, and a head that starts at zero would divide by it.
"""

from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import UnitLoss, softened, wide
from limbeck.models.likelihood import divergence
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch

# Far below that of any trained head, whose logits differ by tenths at least.
SMALLEST_VARIANCE = 1e-6


class LogitStandardised(UnitLoss):
    """`temperature`: T > 0, a number or a schedule over the training; the paper's base
    temperature."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)

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
        student = standardised(student)
        teacher = standardised(teacher)
        log_q, log_p = softened(student, teacher, temperature)
        nats = divergence(log_p, log_q)
        # Softening by T divides the gradient by T^2.
        return temperature**2 * nats


def standardised(outputs: Outputs) -> Outputs:
    """The same outputs, each unit's logits with mean 0 and deviation 1."""
    logits = wide(outputs.logits)
    centred = logits - logits.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    # A reciprocal root, not a division by the root: its gradient is finite at 0 variance too.
    inverse = variance.clamp_min(SMALLEST_VARIANCE).rsqrt()
    return replace(outputs, logits=centred * inverse)
