"""The loss of a regression: (student - y)^2, the mean over labelled units (Gauss, 1809): nats up to a constant and a factor, where y errs normally.

Labels are (B, W) numbers, NaN where there is none; the student's logits are (B, W, 1).
"""

from typing import ClassVar

import torch

from limbeck.losses import masked_mean, wide
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class MeanSquaredError(torch.nn.Module):
    """A number a unit; reads no teacher."""

    reads: ClassVar[tuple[str, ...]] = ()

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Squared error a unit, in the squared unit of the labels."""
        errors = (
            wide(student.logits).squeeze(-1) - batch.labels.nan_to_num()
        )  # a NaN would pass the mask in the gradient
        return masked_mean(errors.square(), student.mask & ~batch.labels.isnan())
