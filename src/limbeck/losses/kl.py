"""T^2 KL(teacher || student) at temperature T: T^2 sum_v p_v (log p_v - log q_v), p = softmax(teacher / T), q = softmax(student / T)
(Hinton, Vinyals, Dean, 2015, arXiv 1503.02531). 0 at identity; the factor T^2 keeps the gradient's size as T grows (their section 2)."""

from typing import ClassVar

import torch

from limbeck.features import Outputs
from limbeck.losses import masked_mean, wide
from limbeck.tasks import Batch


class Kl(torch.nn.Module):
    """`temperature`: T > 0."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"kl: temperature is above 0, not {temperature}")
        self.temperature = temperature

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Nats a unit, times T^2."""
        log_q = torch.log_softmax(wide(student.logits) / self.temperature, -1)
        log_p = torch.log_softmax(wide(teacher.logits.detach()) / self.temperature, -1)
        nats = (log_p.exp() * (log_p - log_q)).sum(-1)
        return self.temperature**2 * masked_mean(nats, student.mask & teacher.mask)
