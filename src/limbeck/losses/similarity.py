"""Find the texts or images of a batch alike that the teacher finds alike (similarity-preserving
distillation, Tung and Mori, 2019, arXiv 1907.09682, equations 1 to 4). Of the hidden states
A (N, D) of the N counted units of a batch (texts, images, or words when tagging)

    G = A A^T, each row divided by its length
    L = mean over layers of (1 / N) || G_t - G_s ||_F^2

s the student, t the teacher, so that the widths may differ and nothing has to be projected.
Between 0 and 4.

Deviations:
- 1 / N in place of 1 / N^2, so that the term's size does not fall with the batch (the paper's
  weight, 3000 at a batch of 256, is about 12 here).
- A convolution's map counts as its mean over the pixels, not pixel by pixel.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.losses import PlainLoss, flat_units, matched
from limbeck.losses._matching import LayerPairs, MapBy, Matching
from limbeck.models.taps import HIDDEN, Outputs
from limbeck.tasks import Batch


class Similarity(PlainLoss, nn.Module):
    """Keys:

    - `layers`: how many of the student's layers learn; 0 means as many as both models have.
    - `map_by`: how layers are paired: `uniform` (evenly spaced in both models, the last ones kept),
      `last` (the last ones of both, in their order) or `similarity` (evenly spaced in the student,
      with those of the teacher whose hidden states are most alike by linear CKA, in their order).
    - `map`: pairs of modules by name, the student's to the teacher's, in place of both keys.
    """

    reads: ClassVar[tuple[str, ...]] = ("logits", HIDDEN)

    def __init__(
        self,
        layers: int = 1,
        map: dict[str, str] | None = None,
        map_by: MapBy = "last",
    ) -> None:
        super().__init__()
        self.kinds = (HIDDEN,)
        self.matching = Matching(layers, map, map_by)
        self.pairs: LayerPairs = []

    def bind(self, pairs: LayerPairs, student: Outputs, teacher: Outputs) -> None:
        """Take the pairs; there is nothing to make, as similarities have no width."""
        self.pairs = pairs

    def forward(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor:
        """Squared distance between the similarities of a unit; the mean over units and layers."""
        mask = student.mask & teacher.mask
        # By units, not by pairs of units: see the module's deviations.
        num_units = mask.sum().clamp_min(1)
        terms = []
        for student_map, teacher_map in matched(HIDDEN, self.pairs, student, teacher):
            found = similarities(flat_units(student_map, mask))
            target = similarities(flat_units(teacher_map, mask))
            # Units that do not count are 0 in both, and so are their rows and columns.
            differences = found - target
            distance = differences.square().sum()
            terms.append(distance / num_units)
        return torch.stack(terms).mean()


def similarities(units: Tensor) -> Tensor:
    """(K, K) of units (K, D): each row's products with all of them, divided by the row's length."""
    # At length 1 a row tells to whom a unit is alike, not how large its map is.
    products = units @ units.T
    return functional.normalize(products, dim=-1)
