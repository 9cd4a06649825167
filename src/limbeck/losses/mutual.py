"""Student and teacher learn from each other: deep mutual learning (Zhang et al., 2018,
arXiv 1706.00384, equations 4 and 5), and the co-study of QKD (Kim et al., 2019, arXiv 1911.12491,
section 3.2), in which a trained teacher adapts to what its quantized student can follow.

    student    T^2 KL(p || q)
    teacher    hard loss + T^2 KL(q || p)
    q = softmax(student / T), p = softmax(peer / T), T the temperature

The peer is a copy of the teacher that is trained along. In each line the other one is held still;
the value is the sum of both. After the share `learns` of the training the peer stands still too,
and the first line alone is left: QKD's tutoring. The peer reads the student's batch, answers live,
and is part of the checkpoint, never of what is shipped.

Deviation: both papers update the two in turn; here one step moves both.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import Loss, PlainLoss, masked_mean, softened
from limbeck.models.likelihood import divergence
from limbeck.models.running import run_model
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class Mutual(PlainLoss, nn.Module):
    """`temperature`: T > 0, a number or a schedule over the training. `learns`: for which share of
    the training, 0 to 1, the peer learns too."""

    reads: ClassVar[tuple[str, ...]] = ("peer",)

    def __init__(
        self, temperature: ScheduledAbove0 = 1.0, learns: Annotated[float, Field(ge=0, le=1)] = 1.0
    ) -> None:
        super().__init__()
        self.temperature = schedule(temperature)
        self.learns = learns

    def bind_peer(self, model: nn.Module, hard: Loss) -> None:
        """Own `model`, a copy of the teacher, and `hard`, the loss that it learns labels by."""
        self.peer = model
        self.hard = hard

    def forward(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor:
        """Nats a unit, both lines together."""
        peer_learns = progress < self.learns
        temperature = self.temperature(progress)
        # A peer that stands still answers as a teacher does: without dropout, or batch statistics.
        self.peer.train(peer_learns)
        with torch.set_grad_enabled(peer_learns and torch.is_grad_enabled()):
            peer = run_model(self.peer, batch)
        mask = student.mask & peer.mask

        # 1. The student's line; `softened` lets no gradient through to its second model.
        log_q, log_p = softened(student, peer, temperature)
        nats = divergence(log_p, log_q)
        student_line = temperature**2 * masked_mean(nats, mask)
        if not peer_learns:
            return student_line

        # 2. The peer's line: the other way round, the student held still.
        log_p, log_q = softened(peer, student, temperature)
        nats = divergence(log_q, log_p)
        soft = temperature**2 * masked_mean(nats, mask)
        hard = self.hard(peer, peer, batch, progress)
        return student_line + hard + soft
