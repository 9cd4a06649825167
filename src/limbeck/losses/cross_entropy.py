"""The hard loss of a task with one class a unit: - w_label log softmax(student)[label], in nats,
the mean over the labelled units. Units labelled UNKNOWN (of unlabelled rows) do not count.

The weights w are 1 where none are given. They do not divide the mean, as torch's do: a batch of
rare labels is to count for more than one of frequent ones.
"""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from limbeck.losses import (
    LabelKind,
    UnitLoss,
    as_logits,
    weights_buffer,
    wide,
)
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class CrossEntropy(UnitLoss):
    """Reads labels (B, W), one class a unit, and no teacher.

    class_weights: (V) what a unit of each class counts, in order of the labels; all alike where
        left out.
    """

    reads: ClassVar[tuple[str, ...]] = ()
    labels: ClassVar[LabelKind] = "index"

    def __init__(self, class_weights: list[float] | None = None) -> None:
        super().__init__()
        self.class_weights = weights_buffer(class_weights)

    def of_units(self, student: Outputs, teacher: Outputs, batch: Batch, progress: float) -> Tensor:
        """Nats a unit."""
        # UNKNOWN is below 0, and an index below 0 is none: such a unit takes class 0, and does not
        # count.
        classes = batch.labels.clamp_min(0).flatten()
        # Units in one row after another, as torch's cross-entropy takes classes on axis 1.
        logits = wide(student.logits).flatten(0, 1)
        weights = as_logits(self.class_weights, logits)
        nats = functional.cross_entropy(logits, classes, weight=weights, reduction="none")
        return nats.view_as(batch.labels)
