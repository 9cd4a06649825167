"""T^2 sum_v KL(Bernoulli(p_v) || Bernoulli(q_v)) at temperature T, for labels that do not exclude one another:

    T^2 sum_v [ p_v (log p_v - log q_v) + (1 - p_v) (log (1 - p_v) - log (1 - q_v)) ],   p = sigmoid(teacher / T), q = sigmoid(student / T)

(multi-label logits distillation, Yang et al., 2023, arXiv 2308.06453). 0 at identity. log (1 - sigmoid(x)) is logsigmoid(-x), which no large logit
breaks. Every label is taught, also where the row's own is unknown.

Deviation: a temperature, as in `kl`; theirs is 1.
"""

from typing import ClassVar

import torch
from torch.nn.functional import logsigmoid

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import masked_mean, wide
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class BernoulliKl(torch.nn.Module):
    """`temperature`: T > 0, a number or a schedule."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(self, temperature: ScheduledAbove0 = 2.0) -> None:
        super().__init__()
        self.temperatures = schedule(temperature)
        self.temperature = self.temperatures(0.0)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Nats a unit, summed over its labels, times T^2."""
        own, theirs = (
            wide(student.logits) / self.temperature,
            wide(teacher.logits.detach()) / self.temperature,
        )
        present = theirs.sigmoid() * (logsigmoid(theirs) - logsigmoid(own))
        absent = (-theirs).sigmoid() * (logsigmoid(-theirs) - logsigmoid(-own))
        return self.temperature**2 * masked_mean(
            (present + absent).sum(-1), student.mask & teacher.mask
        )
