"""Hidden maps of matched layers, the student's through a learned linear projector W, over counted units (FitNets, Romero et al., 2015,
arXiv 1412.6550; TinyBERT, Jiao et al., 2020, arXiv 1909.10351, equation 8):

    mse      mean_l || h_s W - h_t ||^2 / D_t
    cosine   mean_l 1 - cos(h_s W, h_t)            (DistilBERT, Sanh et al., 2019, arXiv 1910.01108, section 3)

W starts as the identity where the widths agree, and is dropped at export.

Deviation: for `mse` each teacher map is divided by its root mean square over the batch, so that one weight serves layers and teachers of any scale.
"""

from typing import ClassVar, Literal

import torch
from torch import nn
from torch.nn import functional

from limbeck.losses import masked_mean, projector, wide
from limbeck.losses._matching import MapBy, Matching
from limbeck.models.taps import HIDDEN, PLACES, Outputs, Tap
from limbeck.tasks import Batch


class Hidden(nn.Module):
    """`layers`: how many of the student's layers are matched; 0 means all. `map_by`: how they find theirs. `map`: modules of the student to modules
    of the teacher, by name, in their place. `each`: the words of a row, or the row that is one; `place` takes every token of such a row, of one
    tokenizer."""

    reads: ClassVar[tuple[str, ...]] = ("logits", "hidden")

    def __init__(
        self,
        layers: int = 0,
        map: dict[str, str] | None = None,
        map_by: MapBy = "uniform",
        measure: Literal["mse", "cosine"] = "mse",
        each: Literal["unit", "place"] = "unit",
    ) -> None:
        super().__init__()
        self.kinds = (HIDDEN if each == "unit" else PLACES,)
        self.matching = Matching(layers, map, map_by)
        self.measure = measure
        self.projectors = nn.ModuleList()
        self.pairs: list[tuple[str, str]] = []

    def bind(self, pairs: list[tuple[str, str]], student: Outputs, teacher: Outputs) -> None:
        """Make one projector for each pair of layers, from the student's width to the teacher's."""
        self.pairs, (kind,) = pairs, self.kinds
        for own, theirs in pairs:
            self.projectors.append(
                projector(
                    student.inner[Tap(kind, own)].shape[-1],
                    teacher.inner[Tap(kind, theirs)].shape[-1],
                )
            )

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Squared error a coordinate, relative to the teacher's mean square, or 1 - cosine, averaged over the layers."""
        (kind,) = self.kinds
        mask = (
            student.mask & teacher.mask
            if kind == HIDDEN
            else student.place_mask & teacher.place_mask
        )
        terms = []
        for project, (own, theirs) in zip(self.projectors, self.pairs, strict=True):
            target, found = (
                wide(teacher.inner[Tap(kind, theirs)].detach()),
                project(wide(student.inner[Tap(kind, own)])),
            )
            if self.measure == "cosine":
                terms.append(
                    masked_mean(1 - functional.cosine_similarity(found, target, dim=-1), mask)
                )
                continue
            power = masked_mean(target.square().mean(-1), mask).clamp_min(1e-12)
            terms.append(masked_mean((found - target).square().mean(-1), mask) / power)
        return torch.stack(terms).mean()
