"""Kullback-Leibler divergence the other way round, from the teacher to the student:

    T^2 KL(q || p) = T^2 sum_v q_v (log q_v - log p_v)
    p = softmax(teacher / T), q = softmax(student / T), T the temperature

(MiniLLM, Gu et al., 2023, arXiv 2306.08543). 0 at identity. What the student gives to labels that
the teacher holds for unlikely costs most, so that a small student leaves labels out rather than
spreading over all of them.

Deviation: MiniLLM takes it over sequences that the student samples, by policy gradients; here it
is over the labels of a unit, exactly, and times T^2 as `kl`.
"""

from typing import ClassVar

from torch import Tensor

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import UnitLoss, softened
from limbeck.models.likelihood import divergence
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class ReverseKl(UnitLoss):
    """`temperature`: T > 0, a number or a schedule over the training."""

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
        log_q, log_p = softened(student, teacher, temperature)
        # The student's probabilities weigh: what it makes up must not be unlikely.
        nats = divergence(log_q, log_p)
        # Softening by T divides the gradient by T^2.
        return temperature**2 * nats
