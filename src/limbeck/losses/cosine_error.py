"""The hard loss of scored pairs of vectors: (cos(u, v) - y)^2, the mean over the labelled pairs
(Sentence-BERT, Reimers and Gurevych, 2019, arXiv 1908.10084, section 3, "regression objective
function"). The student's logits are the vectors; the label of a pair stands at its first unit, and
is NaN where there is none."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from limbeck.losses import LabelKind, PlainLoss, masked_mean, paired_units
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class CosineError(PlainLoss, nn.Module):
    """Reads labels that are one number a pair of units, and no teacher."""

    reads: ClassVar[tuple[str, ...]] = ()
    labels: ClassVar[LabelKind] = "similarity"

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch, progress: float) -> Tensor:
        """Squared cosines a pair."""
        pairs = paired_units(student, batch)
        # 0 for a vector of zeros, which has no direction.
        cosines = cosine_similarity(pairs.first, pairs.second, -1)
        # A mask alone would not do: 0 times a NaN is a NaN in the gradient.
        errors = cosines - pairs.labels.nan_to_num()
        is_labelled = pairs.mask & ~pairs.labels.isnan()
        return masked_mean(errors.square(), is_labelled)
