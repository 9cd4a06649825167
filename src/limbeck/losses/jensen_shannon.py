"""Generalised Jensen-Shannon divergence of softened answers, times T^2:

    JSD = beta KL(p || m) + (1 - beta) KL(q || m),   m = beta p + (1 - beta) q
    p = softmax(teacher / T), q = softmax(student / T), T the temperature

(GKD, Agarwal et al., 2023, arXiv 2306.13649, section 2). 0 at identity, at most log 2 times T^2,
and symmetric at beta = 1/2. It goes to 0 at both ends of beta, where, as their section 2 says,

    JSD / beta -> KL(p || q) for beta -> 0,   JSD / (1 - beta) -> KL(q || p) for beta -> 1

So beta = 0 is taken as T^2 KL(p || q), our `kl`, and beta = 1 as T^2 KL(q || p), our
`reverse_kl`. Between them nothing is rescaled: a small beta needs a weight of about 1 / beta to
pull as `kl` does.

Deviation: times T^2, as `kl`.
"""

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import UnitLoss, softened
from limbeck.models.likelihood import divergence
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class JensenShannon(UnitLoss):
    """`beta`: the teacher's share of the mixture m, 0 to 1. `temperature`: T > 0, a number or a
    schedule over the training."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(
        self, beta: Annotated[float, Field(ge=0, le=1)] = 0.5, temperature: ScheduledAbove0 = 2.0
    ) -> None:
        super().__init__()
        self.beta = beta
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
        nats = generalised_divergence(log_q, log_p, self.beta)
        # Softening by T divides the gradient by T^2.
        return temperature**2 * nats


def generalised_divergence(log_q: Tensor, log_p: Tensor, beta: float) -> Tensor:
    """(B, W) the divergence in nats of log-probabilities (B, W, V); at beta 0 and 1 its limits."""
    # At the ends the mixture is one of the two, and the divergence 0 for any student.
    if beta == 0:
        return divergence(log_p, log_q)
    if beta == 1:
        return divergence(log_q, log_p)
    # log m by logaddexp: p and q of unlikely labels are 0 in float32, their logarithms are not.
    log_m = torch.logaddexp(log_p + math.log(beta), log_q + math.log1p(-beta))
    from_teacher = divergence(log_p, log_m)
    from_student = divergence(log_q, log_m)
    return beta * from_teacher + (1 - beta) * from_student
