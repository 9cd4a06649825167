"""The loss of a task whose labels do not exclude one another: -sum_v [ y_v log q_v + (1 - y_v) log (1 - q_v) ], q = sigmoid(student), in nats, the
mean over the units of which a label is known (binary relevance, a logistic regression a label; Zhang and Zhou, 2014, IEEE TKDE 26(8)).

Labels are (B, W, V) numbers: 1 present, 0 absent, UNKNOWN where nobody said, and such an entry adds nothing to the sum.
"""

from typing import ClassVar

import torch
from torch.nn import functional

from limbeck.losses import masked_mean, wide
from limbeck.models.taps import Outputs
from limbeck.tasks import UNKNOWN, Batch


class BinaryCrossEntropy(torch.nn.Module):
    """Hard labels, any number a unit; reads no teacher."""

    reads: ClassVar[tuple[str, ...]] = ()

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Nats a unit, summed over its labels."""
        known = batch.labels != UNKNOWN
        logits = wide(student.logits)
        nats = functional.binary_cross_entropy_with_logits(
            logits, (batch.labels * known).to(logits.dtype), reduction="none"
        )
        return masked_mean((nats * known).sum(-1), student.mask & known.any(-1))
