"""Kullback-Leibler divergence from the student to the teacher, both softened:

    T^2 KL(p || q) = T^2 sum_v p_v (log p_v - log q_v)
    p = softmax(teacher / T), q = softmax(student / T), T the temperature

(Hinton, Vinyals, Dean, 2015, arXiv 1503.02531). 0 at identity. The factor T^2 keeps the
gradient's size as T grows (their section 2).
"""

from typing import ClassVar

from torch import Tensor

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import UnitLoss, softened
from limbeck.models.likelihood import divergence
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class Kl(UnitLoss):
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
        # The teacher's probabilities weigh: what it holds for likely must not be missed.
        nats = divergence(log_p, log_q)
        # Softening by T divides the gradient by T^2.
        return temperature**2 * nats
