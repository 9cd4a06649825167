"""The hard loss of a task whose labels do not exclude one another:

    - sum_v [ w_v y_v log q_v + (1 - y_v) log (1 - q_v) ],   q = sigmoid(student)

in nats, the mean over the units of which a label is known (binary relevance, a logistic regression
for each label; Zhang and Zhou, 2014, IEEE TKDE 26(8)).

Labels are (B, W, V) numbers: 1 present, 0 absent, UNKNOWN where nobody said, which adds nothing to
the sum. The weights w are 1 where none are given; above 1 a rare label is missed less often.
"""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from limbeck.losses import (
    LabelKind,
    PlainLoss,
    as_logits,
    masked_mean,
    weights_buffer,
    wide,
)
from limbeck.models.taps import Outputs
from limbeck.tasks import UNKNOWN, Batch


class BinaryCrossEntropy(PlainLoss, nn.Module):
    """Reads labels of which a unit may have any number, and no teacher.

    class_weights: (V) what a unit that has the label counts, in order of the labels; as much as one
        without it where left out.
    """

    reads: ClassVar[tuple[str, ...]] = ()
    labels: ClassVar[LabelKind] = "set"

    def __init__(self, class_weights: list[float] | None = None) -> None:
        super().__init__()
        self.class_weights = weights_buffer(class_weights)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch, progress: float) -> Tensor:
        """Nats a unit, summed over its labels."""
        known = batch.labels != UNKNOWN
        logits = wide(student.logits)
        # UNKNOWN is no probability: it becomes 0 here, and its nats are left out below.
        present = (batch.labels * known).to(logits.dtype)
        weights = as_logits(self.class_weights, logits)
        nats = functional.binary_cross_entropy_with_logits(
            logits, present, pos_weight=weights, reduction="none"
        )
        of_known = (nats * known).sum(-1)
        # A unit without any known label would only make the mean smaller.
        is_labelled = student.mask & known.any(-1)
        return masked_mean(of_known, is_labelled)
