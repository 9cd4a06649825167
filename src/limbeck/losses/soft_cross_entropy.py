"""T^2 times the cross-entropy of the student against the teacher's softened distribution: -T^2 sum_v p_v log q_v, p = softmax(teacher / T),
q = softmax(student / T) (Hinton, Vinyals, Dean, 2015, arXiv 1503.02531, section 2). Its gradient is that of `kl`; its value is larger by
T^2 times the teacher's entropy, so it is not 0 at identity."""

from typing import ClassVar

import torch

from limbeck.features import Outputs
from limbeck.losses import masked_mean, wide
from limbeck.tasks import Batch


class SoftCrossEntropy(torch.nn.Module):
    """`temperature`: T > 0."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"soft_cross_entropy: temperature is above 0, not {temperature}")
        self.temperature = temperature

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Nats a unit, times T^2."""
        log_q = torch.log_softmax(wide(student.logits) / self.temperature, -1)
        p = torch.softmax(wide(teacher.logits.detach()) / self.temperature, -1)
        return self.temperature**2 * masked_mean(-(p * log_q).sum(-1), student.mask & teacher.mask)
