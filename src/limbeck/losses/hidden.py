"""Mean squared error between matched hidden maps, the student's through a learned linear projector W: mean_l || h_s W - h_t ||^2 / D_t over counted
units (FitNets, Romero et al., 2015, arXiv 1412.6550; TinyBERT, Jiao et al., 2020, arXiv 1909.10351, equation 8). Layers are matched evenly, the last
to the last. W starts as the identity where the widths agree, and is dropped at export.

Deviation: each teacher map is divided by its root mean square over the batch, so that one weight serves layers and teachers of any scale.
"""

from typing import ClassVar

import torch
from torch import nn

from limbeck.features import Outputs, evenly
from limbeck.losses import masked_mean, wide
from limbeck.tasks import Batch


class Hidden(nn.Module):
    """`layers`: how many of the student's layers are matched, counted evenly; 0 means all. `map`: modules of the student to modules of the teacher,
    by name, in their place."""

    reads: ClassVar[tuple[str, ...]] = ("logits", "hidden")

    def __init__(self, layers: int = 0, map: dict[str, str] | None = None) -> None:
        super().__init__()
        self.layers = layers
        self.map = map
        self.projectors = nn.ModuleList()
        self.pairs: list[tuple[str, str]] = []

    def layer_map(self, student: list[str], teacher: list[str]) -> list[tuple[str, str]]:
        """The proposed (student layer, teacher layer) pairs. Raises ValueError where one of the two has no list of layers."""
        if self.map:
            return list(self.map.items())
        if not student or not teacher:
            raise ValueError(
                f"hidden: the {'teacher' if student else 'student'} has no ModuleList of layers. Name modules: hidden: {{map: {{a: b}}}}"
            )
        count = self.layers or min(len(student), len(teacher))
        picked = (evenly(count, len(names)) for names in (student, teacher))
        return [(student[i], teacher[j]) for i, j in zip(*picked, strict=True)]

    def bind(self, pairs: list[tuple[str, str]], widths: list[tuple[int, int]]) -> None:
        """Make one projector for each pair of layers, from the student's width to the teacher's."""
        self.pairs = pairs
        for student_width, teacher_width in widths:
            projector = nn.Linear(student_width, teacher_width, bias=False)
            if student_width == teacher_width:
                nn.init.eye_(projector.weight)
            self.projectors.append(projector)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Squared error a coordinate, relative to the teacher's mean square, averaged over the layers."""
        mask = student.mask & teacher.mask
        terms = []
        for projector, (own, theirs) in zip(self.projectors, self.pairs, strict=True):
            target = wide(teacher.hidden[theirs].detach())
            power = masked_mean(target.square().mean(-1), mask).clamp_min(1e-12)
            error = projector(wide(student.hidden[own])) - target
            terms.append(masked_mean(error.square().mean(-1), mask) / power)
        return torch.stack(terms).mean()
