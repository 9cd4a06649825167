"""The loss of scored pairs of vectors: (cos(u, v) - y)^2, the mean over labelled pairs (Sentence-BERT, Reimers and Gurevych, 2019, arXiv 1908.10084,
section 3, "regression objective function").

The label of a pair is NaN where there is none.
"""

from typing import ClassVar

import torch
from torch.nn.functional import cosine_similarity

from limbeck.losses import masked_mean, pairs
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class CosineError(torch.nn.Module):
    """Hard labels; reads no teacher."""

    reads: ClassVar[tuple[str, ...]] = ()

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Squared cosines a pair."""
        one, two, both, labels = pairs(student, batch)
        error = cosine_similarity(one, two, -1) - labels.nan_to_num()
        return masked_mean(error.square(), both & ~labels.isnan())
