"""`kl` on standardised logits: T^2 sum_v p_v (log p_v - log q_v), p = softmax(Z(teacher) / T), q = softmax(Z(student) / T), where

    Z(z) = (z - mean_v z) / deviation_v z

(Sun et al., 2024, arXiv 2403.01427). The student keeps a scale and an offset of its own: 0 wherever its logits
are the teacher's up to those, so at identity.

The deviation is that of the V labels themselves (divided by V, not V - 1). One of ours from the paper: its square is at least 1e-6, as logits that
are all alike have none, and a head that starts at zero would divide by it.
"""

from dataclasses import replace
from typing import ClassVar

import torch

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import masked_mean, softened, wide
from limbeck.models.likelihood import divergence
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch

SMALLEST_VARIANCE = 1e-6


class LogitStandardised(torch.nn.Module):
    """`temperature`: T > 0, a number or a schedule; the paper's base temperature."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(self, temperature: ScheduledAbove0 = 2.0) -> None:
        super().__init__()
        self.temperatures = schedule(temperature)
        self.temperature = self.temperatures(0.0)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Nats a unit, times T^2."""
        log_q, log_p = softened(standardised(student), standardised(teacher), self.temperature)
        return self.temperature**2 * masked_mean(
            divergence(log_p, log_q), student.mask & teacher.mask
        )


def standardised(outputs: Outputs) -> Outputs:
    """The same outputs, each unit's logits with mean 0 and deviation 1."""
    centred = wide(outputs.logits)
    centred = centred - centred.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return replace(outputs, logits=centred * variance.clamp_min(SMALLEST_VARIANCE).rsqrt())
