"""The flow of the solution procedure (Yim, Joo, Bae and Kim, CVPR 2017, equations 1 and 2): how the channels of one layer go with those of the next,

    G = 1 / (H W) sum over pixels F_a F_b^T   (C_a, C_b)        L = mean_(pairs of following layers) || G_s - G_t ||^2 / || G_t ||^2

F_a and F_b are the maps of two layers that follow one another among the matched ones; of two sizes the larger is averaged to the smaller.

Deviations: the student's maps pass through a learned 1 x 1 projector to the teacher's channels, as in `hidden`, where the paper asks for as many
channels; sizes are averaged, not max-pooled; the error is divided by the teacher's power over the batch, so that one weight serves any teacher.
"""

from itertools import pairwise
from typing import ClassVar

import torch
from torch import nn

from limbeck.losses import masked_mean, projector, rows_that_count, same_size, wide
from limbeck.losses._matching import MapBy, Matching
from limbeck.models.taps import MAPS, Outputs, Tap
from limbeck.tasks import Batch


class Fsp(nn.Module):
    """`layers`: how many of the student's layers are matched, 2 or more; 0 means all. `map_by`: how they find theirs. `map`: modules of the student
    to modules of the teacher, by name and in their order."""

    reads: ClassVar[tuple[str, ...]] = ("logits", MAPS)

    def __init__(
        self, layers: int = 0, map: dict[str, str] | None = None, map_by: MapBy = "uniform"
    ) -> None:
        super().__init__()
        self.kinds = (MAPS,)
        self.matching = Matching(layers, map, map_by)
        self.projectors = nn.ModuleList()
        self.pairs: list[tuple[str, str]] = []

    def bind(self, pairs: list[tuple[str, str]], student: Outputs, teacher: Outputs) -> None:
        """Make one projector for each layer, from the student's channels to the teacher's. Raises ValueError where no layer follows another."""
        if len(pairs) < 2:
            raise ValueError(
                "it compares layers that follow one another, and there is one. Let layers be 2 or more, or name two in map"
            )
        self.pairs = pairs
        for own, theirs in pairs:
            self.projectors.append(
                projector(
                    student.inner[Tap(MAPS, own)].shape[1],
                    teacher.inner[Tap(MAPS, theirs)].shape[1],
                )
            )

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Squared error of the flows, relative to the teacher's, averaged over the pairs of following layers."""
        rows = rows_that_count(student, teacher)
        named = [
            (project, name) for project, (name, _) in zip(self.projectors, self.pairs, strict=True)
        ]
        own = [
            project(wide(student.inner[Tap(MAPS, name)]).movedim(1, -1)).movedim(-1, 1)
            for project, name in named
        ]
        theirs = [wide(teacher.inner[Tap(MAPS, name)].detach()) for _, name in self.pairs]
        terms = []
        for first, second in pairwise(zip(own, theirs, strict=True)):
            found, target = (flow(*both) for both in zip(first, second, strict=True))
            power = masked_mean(target.square().sum((1, 2)), rows).clamp_min(1e-12)
            terms.append(masked_mean((found - target).square().sum((1, 2)), rows) / power)
        return torch.stack(terms).mean()


def flow(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """(B, C, E) of maps (B, C, H, W) and (B, E, H, W)."""
    first, second = (maps.flatten(2) for maps in same_size(first, second))
    return first @ second.transpose(1, 2) / first.shape[-1]
