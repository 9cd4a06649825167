"""Decoupled knowledge distillation: what the target label gets (the paper's TCKD), and how the others share the rest (its NCKD), each with a weight
of its own (Zhao et al., 2022, arXiv 2203.08679):

    T^2 [ alpha KL(b(teacher) || b(student)) + beta KL(c(teacher) || c(student)) ],   b = (p_t, 1 - p_t),   c_v = p_v / (1 - p_t), v != t

p = softmax(logits / T), t the target. `kl` is alpha = 1, beta = 1 - p_t(teacher): a teacher that is sure of the target hides what it knows of the
others, and a constant beta does not. 0 at identity. The defaults are the paper's for CIFAR-100 (for ImageNet beta = 0.5, T = 1).

The target is the row's label; of a unit without one it is the teacher's own decision, the largest logit, which the paper has no need of. The authors
raise the weight over their first 20 epochs of 240: here `weight: "ramp(0@0, 1@0.08)"`.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import masked_mean, softened
from limbeck.models.likelihood import divergence
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch

Share = Annotated[float, Field(ge=0)]


class Dkd(torch.nn.Module):
    """`alpha`: the weight of the target's part. `beta`: of the others'. `temperature`: T > 0, a number or a schedule."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(
        self, alpha: Share = 1.0, beta: Share = 8.0, temperature: ScheduledAbove0 = 4.0
    ) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta
        self.temperatures = schedule(temperature)
        self.temperature = self.temperatures(0.0)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Nats a unit, weighted, times T^2. Raises ValueError where labels are no classes."""
        if batch.labels.shape != student.mask.shape or batch.labels.is_floating_point():
            raise ValueError(
                "dkd: it needs one class a unit, and this task's labels are none. Take bernoulli_kl for sets, logit_mse for numbers"
            )
        target = torch.where(batch.labels >= 0, batch.labels, teacher.logits.argmax(-1)).unsqueeze(
            -1
        )
        log_q, log_p = softened(student, teacher, self.temperature)
        (own_target, own_others), (target_of_teacher, others_of_teacher) = (
            decoupled(log_q, target),
            decoupled(log_p, target),
        )
        nats = self.alpha * divergence(target_of_teacher, own_target) + self.beta * divergence(
            others_of_teacher, own_others
        )
        return self.temperature**2 * masked_mean(nats, student.mask & teacher.mask)


def decoupled(log_p: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(log b (B, W, 2), log c (B, W, V - 1)) of (B, W, V) and the target (B, W, 1)."""
    others = torch.arange(log_p.shape[-1] - 1, device=log_p.device)
    log_others = log_p.gather(-1, others + (others >= target))
    log_rest = log_others.logsumexp(
        -1, keepdim=True
    )  # log (1 - p_t), which 1 - p_t would lose where p_t is close to 1
    return torch.cat([log_p.gather(-1, target), log_rest], -1), log_others - log_rest
