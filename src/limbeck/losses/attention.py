"""Attention maps of matched layers: A (B, N, P, P), what each of P places looks at, with N heads, over counted places.

    mse   mean_l sum (A_s - A_t)^2 / sum A_t^2                    (TinyBERT, Jiao et al., 2020, arXiv 1909.10351, equation 7)
    kl    mean_l mean_(heads, places) KL(A_t || A_s), in nats     (MiniLM, Wang et al., 2020, arXiv 2002.10957, equation 3)

Heads meet in their order where both models have as many; else the mean over the heads of each is compared.

Deviations: TinyBERT compares scores before the softmax, whose size is each model's own; here probabilities are compared in both measures. They are
normalised anew over the places that count, since between two tokenizers only the first token of each word does. `mse` is divided by the mean square
of the teacher's map, as in `hidden`. MiniLM takes the last layer alone: `{layers: 1}`.
"""

from typing import ClassVar, Literal

import torch

from limbeck.losses import masked_mean, wide
from limbeck.losses._matching import MapBy, Matching
from limbeck.models.taps import Outputs, Tap
from limbeck.quantization.attention import PROBABILITIES
from limbeck.tasks import Batch

SMALLEST = 1e-12  # probability of which a logarithm is taken


class Attention(torch.nn.Module):
    """`measure`: mse or kl. `layers`: how many of the student's layers are matched; 0 means all. `map_by`: how they find theirs. `map`: modules of
    the student to modules of the teacher, by name, in their place: layers, or attention modules themselves."""

    reads: ClassVar[tuple[str, ...]] = ("logits", PROBABILITIES)

    def __init__(
        self,
        measure: Literal["mse", "kl"] = "mse",
        layers: int = 0,
        map: dict[str, str] | None = None,
        map_by: MapBy = "uniform",
    ) -> None:
        super().__init__()
        self.kinds = (PROBABILITIES,)
        self.matching = Matching(layers, map, map_by)
        self.measure = measure
        self.pairs: list[tuple[str, str]] = []

    def bind(self, pairs: list[tuple[str, str]], student: Outputs, teacher: Outputs) -> None:
        """Nothing to make: heads are matched or averaged."""
        self.pairs = pairs

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Squared error relative to the teacher's mean square, or nats a place and head, averaged over the layers."""
        mask = student.place_mask & teacher.place_mask
        terms = []
        for own, theirs in self.pairs:
            found, target = (
                student.inner[Tap(PROBABILITIES, own)],
                teacher.inner[Tap(PROBABILITIES, theirs)].detach(),
            )
            if found.shape[1] != target.shape[1]:
                found, target = (heads.mean(1, keepdim=True) for heads in (found, target))
            terms.append(
                self.compare(
                    among_counted(wide(found), mask), among_counted(wide(target), mask), mask
                )
            )
        return torch.stack(terms).mean()

    def compare(
        self, found: torch.Tensor, target: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Two maps (B, N, P, P) whose rows sum to 1 over the places of `mask` (B, P)."""
        if self.measure == "kl":
            nats = torch.special.xlogy(target, target) - target * found.clamp_min(SMALLEST).log()
            return masked_mean(nats.sum(-1).mean(1), mask)
        power = masked_mean(target.square().sum(-1).mean(1), mask).clamp_min(SMALLEST)
        return masked_mean((found - target).square().sum(-1).mean(1), mask) / power


def among_counted(maps: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B, N, P, P) maps that are 0 at the places outside `mask` (B, P) and whose rows sum to 1 over the others."""
    both = mask[:, None, :, None] & mask[:, None, None, :]
    kept = torch.where(both, maps, torch.zeros((), dtype=maps.dtype))
    return kept / kept.sum(-1, keepdim=True).clamp_min(SMALLEST)
