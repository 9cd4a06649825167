"""T^2 times the generalised Jensen-Shannon divergence at temperature T (GKD, Agarwal et al., 2023, arXiv 2306.13649, section 2):

    JSD = beta KL(p || m) + (1 - beta) KL(q || m),   m = beta p + (1 - beta) q,   p = softmax(teacher / T), q = softmax(student / T)

0 at identity, at most log 2 (times T^2). With beta = 1/2 it is symmetric. JSD goes to 0 at both ends, and as their section 2 says,
JSD / beta -> KL(p || q) for beta -> 0 and JSD / (1 - beta) -> KL(q || p) for beta -> 1. So beta = 0 is T^2 KL(p || q), our `kl`, and beta = 1 is
T^2 KL(q || p), our `reverse_kl`; between them nothing is rescaled, and a small beta needs a weight of about 1 / beta to pull as `kl` does.

Deviation: times T^2, as `kl`.
"""

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import masked_mean, softened
from limbeck.models.likelihood import divergence
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class JensenShannon(torch.nn.Module):
    """`beta`: the teacher's share of the mixture, 0 to 1. `temperature`: T > 0, a number or a schedule."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(
        self, beta: Annotated[float, Field(ge=0, le=1)] = 0.5, temperature: ScheduledAbove0 = 2.0
    ) -> None:
        super().__init__()
        self.beta = beta
        self.temperatures = schedule(temperature)
        self.temperature = self.temperatures(0.0)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Nats a unit, times T^2."""
        log_q, log_p = softened(student, teacher, self.temperature)
        return self.temperature**2 * masked_mean(
            generalised(log_q, log_p, self.beta), student.mask & teacher.mask
        )


def generalised(log_q: torch.Tensor, log_p: torch.Tensor, beta: float) -> torch.Tensor:
    """(B, W) the divergence in nats, of (B, W, V); its scaled limits at both ends."""
    if beta == 0:
        return divergence(log_p, log_q)
    if beta == 1:
        return divergence(log_q, log_p)
    log_m = torch.logaddexp(log_p + math.log(beta), log_q + math.log1p(-beta))
    return beta * divergence(log_p, log_m) + (1 - beta) * divergence(log_q, log_m)
