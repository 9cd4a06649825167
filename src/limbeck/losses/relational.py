"""Relational distillation (Park et al., 2019, arXiv 1904.05068, equations 4 to 9): distances between pairs and angles in triplets of units.

    psi_D(i, j) = || x_i - x_j || / mu, mu their mean over the pairs        psi_A(i, j, k) = cos of the angle at x_j
    L = mean_l [ distance * mean Huber(psi_D of the student, of the teacher) + angle * mean Huber(psi_A of the student, of the teacher) ]

Huber is quadratic below a difference of 1, over pairs of two units and triplets of three. The widths may differ; nothing is projected.

Deviation: of a batch with more than `units` counted units, so many are taken, evenly spaced: triplets grow with their third power.
"""

from typing import ClassVar

import torch
from torch.nn import functional

from limbeck.losses import counted
from limbeck.losses._matching import MapBy, Matching
from limbeck.models.layers import evenly
from limbeck.models.taps import HIDDEN, Outputs
from limbeck.tasks import Batch

SMALLEST = 1e-12  # squared distance of which a root is taken


class Relational(torch.nn.Module):
    """`distance`, `angle`: the weights of the two parts (1 to 2 in the paper). `units`: how many are compared, at most. `layers`, `map_by`: which
    layers meet. `map`: modules of the student to modules of the teacher, by name, in their place."""

    reads: ClassVar[tuple[str, ...]] = ("logits", HIDDEN)

    def __init__(
        self,
        distance: float = 1.0,
        angle: float = 2.0,
        units: int = 64,
        layers: int = 1,
        map: dict[str, str] | None = None,
        map_by: MapBy = "last",
    ) -> None:
        super().__init__()
        if units < 3 or min(distance, angle) < 0:
            raise ValueError("units is 3 or more, and distance and angle are 0 or more")
        self.kinds = (HIDDEN,)
        self.matching = Matching(layers, map, map_by)
        self.distance, self.angle, self.units = distance, angle, units
        self.pairs: list[tuple[str, str]] = []

    def bind(self, pairs: list[tuple[str, str]], student: Outputs, teacher: Outputs) -> None:
        """Nothing to make: distances and angles have no width."""
        self.pairs = pairs

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Huber's loss of distances in units of their mean, and of cosines, averaged over the layers."""
        mask = student.mask & teacher.mask
        terms = []
        for own, theirs in self.pairs:
            found, target = (
                self.some(counted(values, mask))
                for values in (student.hidden[own], teacher.hidden[theirs].detach())
            )
            count = len(found)
            apart = ~torch.eye(count, dtype=torch.bool)
            triplets = apart[:, :, None] & apart[:, None, :] & apart[None, :, :]
            far = functional.huber_loss(
                distances(found, apart), distances(target, apart), reduction="none"
            )[apart].sum() / max(1, int(apart.sum()))
            wide = functional.huber_loss(angles(found), angles(target), reduction="none")[
                triplets
            ].sum() / max(1, int(triplets.sum()))
            terms.append(self.distance * far + self.angle * wide)
        return torch.stack(terms).mean()

    def some(self, units: torch.Tensor) -> torch.Tensor:
        """At most `units` of (N, D)."""
        return units if len(units) <= self.units else units[evenly(self.units, len(units))]


def differences(units: torch.Tensor) -> torch.Tensor:
    """(N, N, D): unit j minus unit i."""
    return units[None, :, :] - units[:, None, :]


def distances(units: torch.Tensor, apart: torch.Tensor) -> torch.Tensor:
    """(N, N) in units of their mean over the pairs `apart`."""
    found = differences(units).square().sum(-1).clamp_min(SMALLEST).sqrt()
    return found / (found[apart].sum() / max(1, int(apart.sum()))).clamp_min(SMALLEST)


def angles(units: torch.Tensor) -> torch.Tensor:
    """(N, N, N) cosines: at [j, i, k] of the angle that units i and k make at unit j."""
    towards = functional.normalize(differences(units), dim=-1)
    return towards @ towards.transpose(1, 2)
