"""Similarity-preserving distillation (Tung and Mori, 2019, arXiv 1907.09682, equations 1 to 4): units that are alike to the teacher are alike to the
student. Of the hidden maps A (N, D) of the N counted units of a batch

    G = A A^T, its rows divided by their lengths        L = mean_l (1 / N) || G_t - G_s ||_F^2

so that the widths may differ and nothing has to be projected. Between 0 and 4.

Deviations: 1 / N in place of 1 / N^2, so that the term's size does not fall with the batch (the paper's weight, 3000 at a batch of 256, is about 12
here); a convolution's map counts as its mean over the pixels, not pixel by pixel.
"""

from typing import ClassVar

import torch
from torch.nn import functional

from limbeck.losses import counted
from limbeck.losses._matching import MapBy, Matching
from limbeck.models.taps import HIDDEN, Outputs
from limbeck.tasks import Batch


class Similarity(torch.nn.Module):
    """`layers`: how many of the student's layers are matched; 0 means all. `map_by`: how they find theirs. `map`: modules of the student to modules
    of the teacher, by name, in their place."""

    reads: ClassVar[tuple[str, ...]] = ("logits", HIDDEN)

    def __init__(
        self, layers: int = 1, map: dict[str, str] | None = None, map_by: MapBy = "last"
    ) -> None:
        super().__init__()
        self.kinds = (HIDDEN,)
        self.matching = Matching(layers, map, map_by)
        self.pairs: list[tuple[str, str]] = []

    def bind(self, pairs: list[tuple[str, str]], student: Outputs, teacher: Outputs) -> None:
        """Nothing to make: similarities have no width."""
        self.pairs = pairs

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Squared distance between the similarities of a unit, averaged over units and layers."""
        mask = student.mask & teacher.mask
        terms = []
        for own, theirs in self.pairs:
            found, target = (
                similarities(counted(values, mask))
                for values in (student.hidden[own], teacher.hidden[theirs].detach())
            )
            terms.append((found - target).square().sum() / mask.sum().clamp_min(1))
        return torch.stack(terms).mean()


def similarities(units: torch.Tensor) -> torch.Tensor:
    """(N, N) of (N, D), each row of length 1."""
    return functional.normalize(units @ units.T, dim=-1)
