"""The loss of scored pairs of vectors: (cos(u, v) - y)^2, the mean over labelled pairs (Sentence-BERT, Reimers and Gurevych, 2019, arXiv 1908.10084,
section 3, "regression objective function").

The units 0 and 1 of a row are a pair, then 2 and 3; the label (B, W) of a pair is that of its first unit, NaN where there is none.
"""

from typing import ClassVar

import torch
from torch.nn.functional import cosine_similarity

from limbeck.features import Outputs
from limbeck.losses import masked_mean, wide
from limbeck.tasks import Batch


class CosineError(torch.nn.Module):
    """Hard labels; reads no teacher."""

    reads: ClassVar[tuple[str, ...]] = ()

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Squared cosines a pair."""
        pairs = student.logits.shape[1] // 2
        one, two = (wide(student.logits)[:, start : 2 * pairs : 2] for start in (0, 1))
        both = student.mask[:, 0 : 2 * pairs : 2] & student.mask[:, 1 : 2 * pairs : 2]
        labels = batch.labels[:, 0 : 2 * pairs : 2]
        error = cosine_similarity(one, two, -1) - labels.nan_to_num()
        return masked_mean(error.square(), both & ~labels.isnan())
