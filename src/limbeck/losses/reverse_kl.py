"""T^2 KL(student || teacher) at temperature T: T^2 sum_v q_v (log q_v - log p_v), p = softmax(teacher / T), q = softmax(student / T)
(MiniLLM, Gu et al., 2023, arXiv 2306.08543). It seeks a mode: what the teacher holds for unlikely costs most, so that a small student leaves out
labels rather than spreading over all of them. 0 at identity.

Deviation: theirs is over sequences that the student samples, by policy gradients; here over the labels of a unit, exactly, and times T^2 as `kl`.
"""

from typing import ClassVar

import torch

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import masked_mean, softened
from limbeck.models.likelihood import divergence
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class ReverseKl(torch.nn.Module):
    """`temperature`: T > 0, a number or a schedule."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(self, temperature: ScheduledAbove0 = 2.0) -> None:
        super().__init__()
        self.temperatures = schedule(temperature)
        self.temperature = self.temperatures(0.0)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Nats a unit, times T^2."""
        log_q, log_p = softened(student, teacher, self.temperature)
        return self.temperature**2 * masked_mean(
            divergence(log_q, log_p), student.mask & teacher.mask
        )
