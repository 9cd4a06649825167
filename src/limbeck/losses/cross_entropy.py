"""The hard loss of a task with one class a unit: - log softmax(student)[label], in nats, the mean
over the labelled units. Units labelled UNKNOWN (of unlabelled rows) do not count."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from limbeck.losses import LabelKind, PlainLoss, masked_mean, wide
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class CrossEntropy(PlainLoss, nn.Module):
    """Reads labels (B, W), one class a unit, and no teacher."""

    reads: ClassVar[tuple[str, ...]] = ()
    labels: ClassVar[LabelKind] = "index"

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch, progress: float) -> Tensor:
        """Nats a unit."""
        is_labelled = student.mask & (batch.labels >= 0)
        # UNKNOWN is below 0, and an index below 0 is none: such a unit takes class 0, masked below.
        classes = batch.labels.clamp_min(0).flatten()
        # Units in one row after another, as torch's cross-entropy takes classes on axis 1.
        logits = wide(student.logits).flatten(0, 1)
        nats = functional.cross_entropy(logits, classes, reduction="none")
        return masked_mean(nats.view_as(batch.labels), is_labelled)
