"""Attention transfer between convolutional networks (Zagoruyko and Komodakis, 2017, arXiv 1612.03928, equation 2): where a map A (C, H, W) is large,

    Q = sum_c | A_c |^2 over the pixels        L = mean_l || Q_s / || Q_s || - Q_t / || Q_t || ||^2

so that the numbers of channels may differ. Of two sizes the larger is averaged to the smaller, side by side. Between 0 and 2.

Deviation: the squared distance, as the authors' own code has it, since the distance has no gradient where it is 0.
"""

from typing import ClassVar

import torch
from torch.nn import functional

from limbeck.losses import masked_mean, rows_that_count, same_size, wide
from limbeck.losses._matching import MapBy, Matching
from limbeck.models.taps import MAPS, Outputs, Tap
from limbeck.tasks import Batch


class AttentionTransfer(torch.nn.Module):
    """`layers`: how many of the student's layers are matched; 0 means all. `map_by`: how they find theirs. `map`: modules of the student to modules
    of the teacher, by name, in their place."""

    reads: ClassVar[tuple[str, ...]] = ("logits", MAPS)

    def __init__(
        self, layers: int = 0, map: dict[str, str] | None = None, map_by: MapBy = "uniform"
    ) -> None:
        super().__init__()
        self.kinds = (MAPS,)
        self.matching = Matching(layers, map, map_by)
        self.pairs: list[tuple[str, str]] = []

    def bind(self, pairs: list[tuple[str, str]], student: Outputs, teacher: Outputs) -> None:
        """Nothing to make: channels are summed."""
        self.pairs = pairs

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Squared distance between the normalised maps of an image, averaged over the layers."""
        rows = rows_that_count(student, teacher)
        terms = []
        for own, theirs in self.pairs:
            maps = (
                wide(student.inner[Tap(MAPS, own)]),
                wide(teacher.inner[Tap(MAPS, theirs)].detach()),
            )
            found, target = (
                functional.normalize(values.flatten(1), dim=-1)
                for values in same_size(*(strength(each) for each in maps))
            )
            terms.append(masked_mean((found - target).square().sum(-1), rows))
        return torch.stack(terms).mean()


def strength(maps: torch.Tensor) -> torch.Tensor:
    """(B, 1, H, W) of (B, C, H, W)."""
    return maps.square().sum(1, keepdim=True)
