"""Respond to the same places of an image as the teacher: where the maps of matched convolutional
layers are large is compared (attention transfer, Zagoruyko and Komodakis, 2017, arXiv 1612.03928,
equation 2). Of a map A (C, H, W)

    Q = sum over channels c of | A_c |^2, at each pixel
    L = mean over layers of || Q_s / || Q_s || - Q_t / || Q_t || ||^2

s the student, t the teacher, so that the numbers of channels may differ. Of two sizes the larger
is averaged to the smaller, in height and in width. Between 0 and 2.

Deviation: the squared distance, as the authors' own code has it, since the distance has no
gradient where it is 0.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.losses import PlainLoss, masked_mean, matched, rows_that_count, same_size
from limbeck.losses._matching import LayerPairs, MapBy, Matching
from limbeck.models.taps import MAPS, Outputs
from limbeck.tasks import Batch


class AttentionTransfer(PlainLoss, nn.Module):
    """Keys:

    - `layers`: how many of the student's layers learn; 0 means as many as both models have.
    - `map_by`: how layers are paired: `uniform` (evenly spaced in both models, the last ones kept),
      `last` (the last ones of both, in their order) or `similarity` (evenly spaced in the student,
      with those of the teacher whose hidden states are most alike by linear CKA, in their order).
    - `map`: pairs of modules by name, the student's to the teacher's, in place of both keys.
    """

    reads: ClassVar[tuple[str, ...]] = ("logits", MAPS)

    def __init__(
        self,
        layers: int = 0,
        map: dict[str, str] | None = None,
        map_by: MapBy = "uniform",
    ) -> None:
        super().__init__()
        self.kinds = (MAPS,)
        self.matching = Matching(layers, map, map_by)
        self.pairs: LayerPairs = []

    def bind(self, pairs: LayerPairs, student: Outputs, teacher: Outputs) -> None:
        """Take the pairs; there is nothing to make, as channels are summed."""
        self.pairs = pairs

    def forward(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor:
        """Squared distance between the normalised maps of an image; the mean over the layers."""
        rows = rows_that_count(student, teacher)
        terms = []
        for student_map, teacher_map in matched(MAPS, self.pairs, student, teacher):
            found = strength(student_map)
            target = strength(teacher_map)
            # Pooled after summing channels, so that one channel is pooled instead of all.
            found, target = same_size(found, target)
            # At length 1: where the map is large, not how large it is.
            found = functional.normalize(found.flatten(1), dim=-1)
            target = functional.normalize(target.flatten(1), dim=-1)
            # Squared: the distance itself has no gradient at 0.
            differences = found - target
            distance = differences.square().sum(-1)
            terms.append(masked_mean(distance, rows))
        return torch.stack(terms).mean()


def strength(maps: Tensor) -> Tensor:
    """(B, 1, H, W) the sum of squares over the channels of maps (B, C, H, W)."""
    return maps.square().sum(1, keepdim=True)
