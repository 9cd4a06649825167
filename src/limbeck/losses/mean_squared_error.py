"""The hard loss of a regression: (student - y)^2, the mean over the labelled units (Gauss, 1809).
Nats up to a constant and a factor, where the errors of y are normal.

Labels are (B, W) numbers, NaN where there is none; the student's logits are (B, W, 1).
"""

from typing import ClassVar

from torch import Tensor, nn

from limbeck.losses import LabelKind, PlainLoss, masked_mean, wide
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class MeanSquaredError(PlainLoss, nn.Module):
    """Reads labels that are one number a unit, and no teacher."""

    reads: ClassVar[tuple[str, ...]] = ()
    labels: ClassVar[LabelKind] = "number"

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch, progress: float) -> Tensor:
        """Squared error a unit, in the squared unit of the labels."""
        # A mask alone would not do: 0 times a NaN is a NaN in the gradient.
        targets = batch.labels.nan_to_num()
        errors = wide(student.logits).squeeze(-1) - targets
        # Rows of which nobody gave a number teach nothing here.
        is_labelled = student.mask & ~batch.labels.isnan()
        return masked_mean(errors.square(), is_labelled)
