"""Match the teacher's hidden states, layer by layer: the student's go through a learned linear
projector W to the teacher's width (FitNets, Romero et al., 2015, arXiv 1412.6550; TinyBERT, Jiao et
al., 2020, arXiv 1909.10351, equation 8). Over the units or tokens that count:

    mse      mean over layers of || h_s W - h_t ||^2 / D_t
    cosine   mean over layers of 1 - cos(h_s W, h_t)

h_s and h_t are the student's and the teacher's hidden states, D_t the teacher's width. `cosine` is
DistilBERT's (Sanh et al., 2019, arXiv 1910.01108, section 3). W starts as the identity where the
widths agree, and is dropped at export.

Deviation: for `mse` the teacher's states of each layer are divided by their root mean square over
the batch, so that one weight serves layers and teachers of any scale.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.losses import PlainLoss, make_projector, masked_mean, matched
from limbeck.losses._matching import LayerPairs, MapBy, Matching
from limbeck.models.taps import HIDDEN, PLACES, Outputs
from limbeck.tasks import Batch

SMALLEST_POWER = 1e-12  # of a teacher's map that is 0 everywhere: the error is divided by it


class Hidden(PlainLoss, nn.Module):
    """Keys:

    - `layers`: how many of the student's layers learn; 0 means as many as both models have.
    - `map_by`: how layers are paired: `uniform` (evenly spaced in both models, the last ones kept),
      `last` (the last ones of both, in their order) or `similarity` (evenly spaced in the student,
      with those of the teacher whose hidden states are most alike by linear CKA, in their order).
    - `map`: pairs of modules by name, the student's to the teacher's, in place of both keys.
    - `measure`: how two hidden states are compared: `mse`, the squared error, or `cosine`, the
      angle between them, which leaves their length free.
    - `each`: what is compared: `unit`, the labelled positions (words when tagging, else one vector
      a text or an image), or `place`, every token of such a text, for which teacher and student
      must share a tokenizer.
    """

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
        self.pairs: LayerPairs = []

    def bind(self, pairs: LayerPairs, student: Outputs, teacher: Outputs) -> None:
        """Make a projector for each pair of layers, from the student's width to the teacher's."""
        self.pairs = pairs
        (kind,) = self.kinds
        for student_map, teacher_map in matched(kind, pairs, student, teacher):
            student_width = student_map.shape[-1]
            teacher_width = teacher_map.shape[-1]
            self.projectors.append(make_projector(student_width, teacher_width))

    def forward(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor:
        """Squared error a coordinate, relative to the teacher's mean square, or 1 - cosine; the
        mean over the layers."""
        (kind,) = self.kinds
        # Units (words, or whole texts) unless tokens are compared one by one.
        mask = student.mask & teacher.mask
        if kind == PLACES:
            mask = student.place_mask & teacher.place_mask
        maps = matched(kind, self.pairs, student, teacher)
        terms = []
        for project, (student_map, target) in zip(self.projectors, maps, strict=True):
            # The student's side is projected: so the teacher's map stays the whole target.
            projected = project(student_map)
            terms.append(self.compare(projected, target, mask))
        return torch.stack(terms).mean()

    def compare(self, projected: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Of two maps (B, W, D)."""
        if self.measure == "cosine":
            cosines = functional.cosine_similarity(projected, target, dim=-1)
            return masked_mean(1 - cosines, mask)
        # Over the batch, not unit by unit: a unit with a small map must not weigh more.
        squares = target.square().mean(-1)
        power = masked_mean(squares, mask).clamp_min(SMALLEST_POWER)
        differences = projected - target
        errors = differences.square().mean(-1)
        # Both means are over the same units, so their number cancels.
        return masked_mean(errors, mask) / power
