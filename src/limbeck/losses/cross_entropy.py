"""The task's own loss: -log softmax(student)[label], in nats, the mean over labelled units. Units labelled UNKNOWN (unlabelled rows) do not count."""

from typing import ClassVar

import torch
from torch.nn import functional

from limbeck.losses import masked_mean, wide
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class CrossEntropy(torch.nn.Module):
    """Hard labels; reads no teacher."""

    reads: ClassVar[tuple[str, ...]] = ()

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Nats a unit."""
        counts = student.mask & (batch.labels >= 0)
        labels = batch.labels.clamp_min(0).flatten()
        nats = functional.cross_entropy(
            wide(student.logits).flatten(0, 1), labels, reduction="none"
        )
        return masked_mean(nats.view_as(batch.labels), counts)
