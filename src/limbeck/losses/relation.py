"""Relate tokens to one another as the teacher's attention does: what is compared is how alike the
queries of every two tokens of a text are, and their keys, and their values (MiniLMv2, Wang et al.,
2021, arXiv 2012.15828, equations 4 to 6). Q, K and V are what an attention layer makes of its
tokens, a row for each. With the heads of X in {Q, K, V} put side by side and split anew into R
relation heads of d channels,

    R_X = softmax(X X^T / sqrt(d))
    L = mean over X, relation heads and tokens of KL(R_X of the teacher || R_X of the student)

in nats, over the tokens that count. Neither the widths nor the numbers of heads need to agree. One
layer of each model, as in the paper: the last of both by default, where the paper takes an upper
middle one of a large teacher (`map`).

Deviation: the mean over the three relations in place of their sum, so that the weight compares
with that of other terms.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from limbeck.losses import PlainLoss, masked_mean, matched, zero_where_not
from limbeck.losses._matching import LayerPairs, MapBy, Matching
from limbeck.models.anatomy.attention import FACTORS
from limbeck.models.likelihood import divergence
from limbeck.models.taps import Outputs, Tap
from limbeck.tasks import Batch


class Relation(PlainLoss, nn.Module):
    """Keys:

    - `heads`: the number of relation heads R, a divisor of both widths; 0 takes the largest that is
      not above the teacher's attention heads.
    - `layers`: how many of the student's layers learn; 0 means as many as both models have.
    - `map_by`: how layers are paired: `uniform` (evenly spaced in both models, the last ones kept),
      `last` (the last ones of both, in their order) or `similarity` (evenly spaced in the student,
      with those of the teacher whose hidden states are most alike by linear CKA, in their order).
    - `map`: pairs of modules by name, the student's to the teacher's, in place of both keys.
    """

    reads: ClassVar[tuple[str, ...]] = ("logits", *FACTORS)

    def __init__(
        self,
        heads: int = 0,
        layers: int = 1,
        map: dict[str, str] | None = None,
        map_by: MapBy = "last",
    ) -> None:
        super().__init__()
        if heads < 0:
            raise ValueError(f"relation: heads is 1 or more, or 0 to find it, not {heads}")
        self.kinds = FACTORS
        self.matching = Matching(layers, map, map_by)
        self.heads = heads
        self.pairs: LayerPairs = []

    def bind(self, pairs: LayerPairs, student: Outputs, teacher: Outputs) -> None:
        """Check the number of relation heads, or choose it. Raises ValueError where it does not
        divide both widths."""
        self.pairs = pairs
        student_layers = [layer for layer, _ in pairs]
        teacher_layers = [layer for _, layer in pairs]
        student_factors = factors(student, student_layers)
        teacher_factors = factors(teacher, teacher_layers)
        widths = [
            factor.shape[1] * factor.shape[3] for factor in [*student_factors, *teacher_factors]
        ]
        # Heads of one size in every layer of both models: R divides all widths.
        common = math.gcd(*widths)
        divisors = [number for number in range(1, common + 1) if common % number == 0]
        if self.heads and self.heads not in divisors:
            raise ValueError(
                f"{self.heads} relation heads do not divide both widths. "
                f"heads is one of {', '.join(map(str, divisors))}, or 0"
            )
        if not self.heads:
            # The paper takes more relation heads than heads; the teacher's own is a plain start.
            teacher_heads = max(factor.shape[1] for factor in teacher_factors)
            self.heads = max(number for number in divisors if number <= teacher_heads)

    def forward(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor:
        """Nats a place and relation head; the mean over relations and layers."""
        mask = student.place_mask & teacher.place_mask
        terms = []
        for kind in self.kinds:
            for student_factor, teacher_factor in matched(kind, self.pairs, student, teacher):
                log_q = self.log_relations(student_factor, mask)
                log_p = self.log_relations(teacher_factor, mask)
                nats = divergence(log_p, log_q).mean(1)
                terms.append(masked_mean(nats, mask))
        return torch.stack(terms).mean()

    def log_relations(self, factor: Tensor, mask: Tensor) -> Tensor:
        """(B, R, P, P) log R_X of X (B, N, P, D): what a place makes of the places of `mask`."""
        # Heads side by side, then split anew: R need not be their number.
        side_by_side = factor.transpose(1, 2).flatten(2)
        # Garbage at padded tokens, however large, must not reach the products.
        counted = zero_where_not(mask.unsqueeze(-1), side_by_side)
        heads = counted.unflatten(2, (self.heads, -1)).transpose(1, 2)
        # Scaled as attention is, so that the softmax does not saturate at wide heads.
        products = heads @ heads.transpose(-1, -2)
        scores = products / math.sqrt(heads.shape[-1])
        # The lowest number, not -inf: a row without a counted place must stay finite.
        lowest = torch.finfo(scores.dtype).min
        masked = scores.masked_fill(~mask[:, None, None, :], lowest)
        return masked.log_softmax(-1)


def factors(outputs: Outputs, layers: list[str]) -> list[Tensor]:
    """The queries, keys and values (B, N, P, D) of these layers."""
    return [outputs.inner[Tap(kind, layer)] for layer in layers for kind in FACTORS]
