"""Relations among queries, among keys and among values (MiniLMv2, Wang et al., 2021, arXiv 2012.15828, equations 4 to 6): with the heads of X in
{Q, K, V} put side by side and split anew into R relation heads of d channels,

    R_X = softmax(X X^T / sqrt(d))        L = mean_X mean_(relation heads, places) KL(R_X of the teacher || R_X of the student), in nats

over counted places. Neither the widths nor the numbers of heads need to agree. One layer each, as in the paper: the last of both by default, where
the paper takes an upper middle one of a large teacher (`map`).

Deviation: the mean over the three relations in place of their sum, so that the weight compares with that of other terms.
"""

import math
from typing import ClassVar

import torch

from limbeck.losses import masked_mean, wide
from limbeck.losses._matching import MapBy, Matching
from limbeck.models.likelihood import divergence
from limbeck.models.taps import Outputs, Tap
from limbeck.quantization.attention import FACTORS
from limbeck.tasks import Batch


class Relation(torch.nn.Module):
    """`heads`: R, a divisor of both widths; 0 takes the largest that is not above the teacher's heads. `layers`, `map_by`: which layers meet. `map`:
    modules of the student to modules of the teacher, by name, in their place."""

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
        self.pairs: list[tuple[str, str]] = []

    def bind(self, pairs: list[tuple[str, str]], student: Outputs, teacher: Outputs) -> None:
        """Check or choose the number of relation heads. Raises ValueError where it divides a width not."""
        self.pairs = pairs
        ours = [student.inner[Tap(kind, own)] for own, _ in pairs for kind in FACTORS]
        theirs = [teacher.inner[Tap(kind, name)] for _, name in pairs for kind in FACTORS]
        width = math.gcd(*(values.shape[1] * values.shape[3] for values in (*ours, *theirs)))
        divisors = [number for number in range(1, width + 1) if width % number == 0]
        if self.heads and self.heads not in divisors:
            raise ValueError(
                f"{self.heads} relation heads do not divide both widths. heads is one of {', '.join(map(str, divisors))}, or 0"
            )
        most = max(values.shape[1] for values in theirs)
        self.heads = self.heads or max(number for number in divisors if number <= most)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Nats a place and relation head, averaged over relations and layers."""
        mask = student.place_mask & teacher.place_mask
        terms = []
        for kind in self.kinds:
            for own, theirs in self.pairs:
                log_q = self.log_relations(student.inner[Tap(kind, own)], mask)
                log_p = self.log_relations(teacher.inner[Tap(kind, theirs)].detach(), mask)
                terms.append(masked_mean(divergence(log_p, log_q).mean(1), mask))
        return torch.stack(terms).mean()

    def log_relations(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, R, P, P) of (B, N, P, D): logarithms of what a place makes of the others, among those that count."""
        joined = wide(values).transpose(1, 2).flatten(2)
        joined = torch.where(mask[..., None], joined, torch.zeros((), dtype=joined.dtype))
        heads = joined.unflatten(2, (self.heads, -1)).transpose(1, 2)
        scores = heads @ heads.transpose(-1, -2) / math.sqrt(heads.shape[-1])
        return scores.masked_fill(
            ~mask[:, None, None, :], torch.finfo(scores.dtype).min
        ).log_softmax(-1)
