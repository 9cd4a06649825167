"""Kullback-Leibler divergence for labels that do not exclude one another, each a Bernoulli:

    T^2 sum_v [ p_v (log p_v - log q_v) + (1 - p_v) (log (1 - p_v) - log (1 - q_v)) ]
    p = sigmoid(teacher / T), q = sigmoid(student / T), T the temperature

(multi-label logits distillation, Yang et al., 2023, arXiv 2308.06453). 0 at identity. Every label
is taught, also where the row's own is unknown.

Deviation: a temperature, as in `kl`; the paper's is 1.
"""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import PlainLoss, masked_mean, wide
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class BernoulliKl(PlainLoss, nn.Module):
    """`temperature`: T > 0, a number or a schedule over the training."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)
    likelihoods: ClassVar[tuple[str, ...]] = ("categorical", "bernoulli")

    def __init__(self, temperature: ScheduledAbove0 = 2.0) -> None:
        super().__init__()
        self.temperature = schedule(temperature)

    def forward(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor:
        """Nats a unit, summed over its labels, times T^2."""
        temperature = self.temperature(progress)
        z = wide(student.logits) / temperature
        t = wide(teacher.logits.detach()) / temperature
        # log (1 - sigmoid(x)) as logsigmoid(-x): 1 - sigmoid(x) is 0 in float32 from x = 18 on.
        log_ratio_present = logsigmoid(t) - logsigmoid(z)
        log_ratio_absent = logsigmoid(-t) - logsigmoid(-z)
        present = t.sigmoid() * log_ratio_present
        absent = (-t).sigmoid() * log_ratio_absent
        # Labels are independent given the input, so that their divergences add up.
        nats = (present + absent).sum(-1)
        mask = student.mask & teacher.mask
        return temperature**2 * masked_mean(nats, mask)
