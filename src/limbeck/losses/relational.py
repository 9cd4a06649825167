"""Keep the teacher's distances and angles between the texts or images of a batch (relational
knowledge distillation, Park et al., 2019, arXiv 1904.05068, equations 4 to 9). A unit is a text, an
image, or a word when tagging; x_i is the hidden state of unit i.

    psi_D(i, j) = || x_i - x_j || / mu,   mu the mean distance over the pairs
    psi_A(i, j, k) = cosine of the angle that x_i and x_k make at x_j
    L = mean over layers of distance * mean Huber(psi_D of the student, of the teacher)
                          + angle    * mean Huber(psi_A of the student, of the teacher)

Huber's loss is quadratic below a difference of 1; the means are over pairs of two different units
and triplets of three. The widths may differ; nothing is projected.

Deviation: of a batch with more than `units` counted units, so many are taken, evenly spaced:
triplets grow with their third power.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.losses import PlainLoss, flat_units, index_of_true, masked_mean, matched
from limbeck.losses._matching import LayerPairs, MapBy, Matching
from limbeck.models.taps import HIDDEN, Outputs
from limbeck.tasks import Batch

# A squared distance below it is taken as it: a root has no finite gradient at 0.
SMALLEST = 1e-12


class Relational(PlainLoss, nn.Module):
    """Keys:

    - `distance`, `angle`: the weights of the two parts (1 to 2 in the paper).
    - `units`: how many units of a batch are compared, at most.
    - `layers`: how many of the student's layers learn; 0 means as many as both models have.
    - `map_by`: how layers are paired: `uniform` (evenly spaced in both models, the last ones kept),
      `last` (the last ones of both, in their order) or `similarity` (evenly spaced in the student,
      with those of the teacher whose hidden states are most alike by linear CKA, in their order).
    - `map`: pairs of modules by name, the student's to the teacher's, in place of both keys.
    """

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
        self.distance = distance
        self.angle = angle
        self.units = units
        self.pairs: LayerPairs = []

    def bind(self, pairs: LayerPairs, student: Outputs, teacher: Outputs) -> None:
        """Take the pairs; there is nothing to make, as distances and angles have no width."""
        self.pairs = pairs

    def forward(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor:
        """Huber's loss of distances in units of their mean, and of cosines; the mean over the
        layers."""
        mask = student.mask & teacher.mask
        indices, is_unit = chosen_units(mask.flatten(), self.units)
        is_itself = torch.eye(
            len(indices),
            dtype=torch.bool,
            device=mask.device,
        )
        is_other = ~is_itself
        is_pair = is_unit[:, None] & is_unit & is_other
        # At [j, i, k]: j differs from i and from k, and i from k.
        is_triplet = is_pair[:, :, None] & is_pair[:, None, :] & is_other
        terms = []
        for student_map, teacher_map in matched(HIDDEN, self.pairs, student, teacher):
            # Both models' units at the same slots; empty slots are masked in the means.
            found = flat_units(student_map, mask)[indices]
            target = flat_units(teacher_map, mask)[indices]
            of_distances = huber(
                distances(found, is_pair),
                distances(target, is_pair),
            )
            of_angles = huber(
                angles(found),
                angles(target),
            )
            distance = masked_mean(of_distances, is_pair)
            angle = masked_mean(of_angles, is_triplet)
            term = self.distance * distance + self.angle * angle
            terms.append(term)
        return torch.stack(terms).mean()


def chosen_units(mask: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """(K) the indices of at most `most` of the units where `mask` (N) is True, K = min(most, N),
    and (K) which of them are units; where fewer count, the last slots are empty.

    All in their order where they are no more than `most`; else evenly spaced with the last kept,
    as `models.anatomy.layers.evenly` chooses them.
    """
    num_slots = min(most, len(mask))
    slots = torch.arange(num_slots, device=mask.device)
    num_counted = mask.sum()
    # round((slot + 1) * num_counted / most) - 1 in whole numbers, halves to the even one as
    # Python's round: a quotient of float32 could fall on the wrong side of a half.
    doubled = 2 * (slots + 1) * num_counted + most
    rounded = doubled // (2 * most)
    is_half = doubled % (2 * most) == 0
    is_odd = rounded % 2 == 1
    spaced = rounded - (is_half & is_odd).long() - 1
    numbers = torch.where(num_counted > most, spaced, slots)
    indices = index_of_true(mask, numbers)
    return indices, slots < num_counted


def huber(found: Tensor, target: Tensor) -> Tensor:
    """Huber's loss, element by element."""
    return functional.huber_loss(found, target, reduction="none")


def differences(units: Tensor) -> Tensor:
    """(K, K, D): at [i, j] unit j minus unit i."""
    return units[None, :, :] - units[:, None, :]


def distances(units: Tensor, is_pair: Tensor) -> Tensor:
    """(K, K) distances in units of their mean over the pairs of `is_pair` (K, K)."""
    squared = differences(units).square().sum(-1)
    found = squared.clamp_min(SMALLEST).sqrt()
    # In units of the mean: the two models' maps have scales of their own.
    mean = masked_mean(found, is_pair)
    return found / mean.clamp_min(SMALLEST)


def angles(units: Tensor) -> Tensor:
    """(K, K, K) cosines: at [j, i, k] of the angle that units i and k make at unit j."""
    # At [j, i] from j to i; from a unit to itself it is 0, and no triplet.
    directions = functional.normalize(differences(units), dim=-1)
    return directions @ directions.transpose(1, 2)
