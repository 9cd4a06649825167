"""T^2 times the cross-entropy of the student against the teacher's softened distribution: -T^2 sum_v p_v log q_v, p = softmax(teacher / T),
q = softmax(student / T) (Hinton, Vinyals, Dean, 2015, arXiv 1503.02531, section 2). Its gradient is that of `kl`; its value is larger by
T^2 times the teacher's entropy, so it is not 0 at identity."""

from typing import ClassVar

import torch

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import masked_mean, softened
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class SoftCrossEntropy(torch.nn.Module):
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
            -(log_p.exp() * log_q).sum(-1), student.mask & teacher.mask
        )
