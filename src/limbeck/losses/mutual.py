"""Student and teacher learn from each other: deep mutual learning (Zhang et al., 2018, arXiv 1706.00384, equations 4 and 5), and the co-study of QKD
(Kim et al., 2019, arXiv 1911.12491, section 3.2), in which a trained teacher adapts to what its quantized student can follow.

    student    T^2 KL(p || q)                                    q = softmax(student / T)
    teacher    hard loss + T^2 KL(q || p)                        p = softmax(teacher / T), of a copy of the teacher that is trained along

Each holds the other still in its own line; the value is the sum of both. After the share `learns` of the training the copy stands still and the first
line alone is left: QKD's tutoring. The copy reads the student's batch, answers live, and is part of the checkpoint, never of what is shipped.

Deviation: both papers update the two in turn; here one step moves both.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import nn

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import Loss, masked_mean, softened
from limbeck.models.likelihood import divergence
from limbeck.models.taps import Outputs, run_model
from limbeck.tasks import Batch


class Mutual(nn.Module):
    """`temperature`: T > 0, a number or a schedule. `learns`: for which share of the training the teacher learns too."""

    reads: ClassVar[tuple[str, ...]] = ("peer",)

    def __init__(
        self, temperature: ScheduledAbove0 = 1.0, learns: Annotated[float, Field(ge=0, le=1)] = 1.0
    ) -> None:
        super().__init__()
        self.temperatures = schedule(temperature)
        self.temperature = self.temperatures(0.0)
        self.learns, self.is_learning = learns, learns > 0

    def bind_peer(self, model: nn.Module, hard: Loss) -> None:
        """Take a copy of the teacher, and the loss that it learns by."""
        self.peer, self.hard = model, hard

    def at(self, progress: float) -> None:
        """Let the teacher learn, or not, from here on."""
        self.is_learning = progress < self.learns
        self.peer.train(self.is_learning)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Nats a unit, both lines together."""
        with torch.set_grad_enabled(self.is_learning and torch.is_grad_enabled()):
            peer = run_model(self.peer, batch)
        log_q, log_p = softened(student, peer, self.temperature)
        mask, square = student.mask & peer.mask, self.temperature**2
        own = square * masked_mean(divergence(log_p, log_q), mask)
        if not self.is_learning:
            return own
        log_p, log_q = softened(
            peer, student, self.temperature
        )  # the other way round, the student held still
        return (
            own
            + self.hard(peer, peer, batch)
            + square * masked_mean(divergence(log_q, log_p), mask)
        )
