"""Let features develop from layer to layer as the teacher's do: for two layers that follow one
another, which channels of the second respond to the same pixels as which channels of the first (the
flow of the solution procedure, Yim, Joo, Bae and Kim, CVPR 2017, equations 1 and 2),

    G = 1 / (H W) sum over pixels of F_a F_b^T,   (C_a, C_b)
    L = mean over pairs of following layers of || G_s - G_t ||^2 / || G_t ||^2

F_a and F_b are the maps of two layers that follow one another among the matched ones, s the
student, t the teacher. Of two sizes the larger is averaged to the smaller.

Deviations:
- The student's maps pass through a learned 1 x 1 projector to the teacher's channels, as in
  `hidden`, where the paper asks for as many channels.
- Sizes are averaged, not max-pooled.
- The error is divided by the teacher's power over the batch, so that one weight serves any teacher.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from limbeck.losses import (
    PlainLoss,
    make_projector,
    masked_mean,
    matched,
    rows_that_count,
    same_size,
)
from limbeck.losses._matching import LayerPairs, MapBy, Matching
from limbeck.models.taps import MAPS, Outputs
from limbeck.tasks import Batch

SMALLEST_POWER = 1e-12  # of a teacher's flow that is 0 everywhere: the error is divided by it


class Fsp(PlainLoss, nn.Module):
    """Keys:

    - `layers`: how many of the student's layers learn, 2 or more; 0 means as many as both have.
    - `map_by`: how layers are paired: `uniform` (evenly spaced in both models, the last ones kept),
      `last` (the last ones of both, in their order) or `similarity` (evenly spaced in the student,
      with those of the teacher whose hidden states are most alike by linear CKA, in their order).
    - `map`: pairs of modules by name, the student's to the teacher's, first layer first, in place
      of both keys.
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
        self.projectors = nn.ModuleList()
        self.pairs: LayerPairs = []

    def bind(self, pairs: LayerPairs, student: Outputs, teacher: Outputs) -> None:
        """Make a projector for each pair, from the student's channels to the teacher's. Raises
        ValueError where no layer follows another."""
        if len(pairs) < 2:
            raise ValueError(
                "it compares layers that follow one another, and there is one. "
                "Let layers be 2 or more, or name two in map"
            )
        self.pairs = pairs
        for student_map, teacher_map in matched(MAPS, pairs, student, teacher):
            student_channels = student_map.shape[1]
            teacher_channels = teacher_map.shape[1]
            self.projectors.append(make_projector(student_channels, teacher_channels))

    def forward(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor:
        """Squared error of the flows, relative to the teacher's; the mean over the pairs of
        following layers."""
        rows = rows_that_count(student, teacher)
        maps = matched(MAPS, self.pairs, student, teacher)
        projected = []
        targets = []
        for project, (student_map, teacher_map) in zip(self.projectors, maps, strict=True):
            # A linear layer works on the last axis, and channels are the second.
            channels_last = student_map.movedim(1, -1)
            projected_last = project(channels_last)
            projected.append(projected_last.movedim(-1, 1))
            targets.append(teacher_map)
        terms = []
        # Each layer with the next one: one flow fewer than layers.
        for index in range(len(self.pairs) - 1):
            found = flow(projected[index], projected[index + 1])
            target = flow(targets[index], targets[index + 1])
            # Relative over the batch, as in `hidden`.
            squares = target.square().sum((1, 2))
            power = masked_mean(squares, rows).clamp_min(SMALLEST_POWER)
            differences = found - target
            errors = differences.square().sum((1, 2))
            terms.append(masked_mean(errors, rows) / power)
        return torch.stack(terms).mean()


def flow(first: Tensor, second: Tensor) -> Tensor:
    """(B, C, E) the matrix G of maps (B, C, H, W) and (B, E, H, W)."""
    # A product needs the same pixels of both layers.
    first, second = same_size(first, second)
    first = first.flatten(2)
    second = second.flatten(2)
    num_pixels = first.shape[-1]
    return first @ second.transpose(1, 2) / num_pixels
