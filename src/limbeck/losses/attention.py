"""Attend where the teacher attends: the attention maps of matched layers are compared. A map
A (B, N, P, P) says how much of its attention each of P tokens gives to each other one, in each of
N heads. Only tokens that count are compared: no padding, and where the two tokenizers differ only
the first token of each word.

    mse   mean over layers of sum (A_s - A_t)^2 / sum A_t^2
    kl    mean over layers, heads and tokens of KL(A_t || A_s), in nats

A_s is the student's map, A_t the teacher's. `mse` is TinyBERT's (Jiao et al., 2020, arXiv
1909.10351, equation 7), `kl` MiniLM's (Wang et al., 2020, arXiv 2002.10957, equation 3). Heads meet
in their order where both models have as many; else the mean over the heads of each is compared.

Deviations:
- TinyBERT compares scores before the softmax, whose size differs from model to model; here both
  measures compare probabilities.
- They are normalised anew over the tokens that count, since between two tokenizers only the first
  token of each word does.
- `mse` is divided by the mean square of the teacher's map, as in `hidden`.
- MiniLM takes the last layer alone: write `{layers: 1}`.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from limbeck.losses import PlainLoss, masked_mean, matched, zero_where_not
from limbeck.losses._matching import LayerPairs, MapBy, Matching
from limbeck.models.anatomy.attention import PROBABILITIES
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch

# A probability below it is taken as it for a logarithm or a division; float32 rounds at 6e-8.
SMALLEST = 1e-12


class Attention(PlainLoss, nn.Module):
    """Keys:

    - `measure`: how two maps are compared: `mse`, the squared error relative to the teacher's
      squares, or `kl`, the divergence of what each token attends to.
    - `layers`: how many of the student's layers learn; 0 means as many as both models have.
    - `map_by`: how layers are paired: `uniform` (evenly spaced in both models, the last ones kept),
      `last` (the last ones of both, in their order) or `similarity` (evenly spaced in the student,
      with those of the teacher whose hidden states are most alike by linear CKA, in their order).
    - `map`: pairs of modules by name, the student's to the teacher's, in place of both keys:
      layers, or attention modules themselves.
    """

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
        self.pairs: LayerPairs = []

    def bind(self, pairs: LayerPairs, student: Outputs, teacher: Outputs) -> None:
        """Take the pairs; there is nothing to make, as heads are matched or averaged."""
        self.pairs = pairs

    def forward(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor:
        """Squared error relative to the teacher's mean square, or nats a place and head; the mean
        over the layers."""
        mask = student.place_mask & teacher.place_mask
        terms = []
        for found, target in matched(PROBABILITIES, self.pairs, student, teacher):
            if found.shape[1] != target.shape[1]:
                # Other numbers of heads have no order in common; their means are comparable.
                found = found.mean(1, keepdim=True)
                target = target.mean(1, keepdim=True)
            found = among_counted(found, mask)
            target = among_counted(target, mask)
            terms.append(self.compare(found, target, mask))
        return torch.stack(terms).mean()

    def compare(self, found: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Of two maps (B, N, P, P) whose rows sum to 1 over the places of `mask` (B, P)."""
        if self.measure == "kl":
            # xlogy(0, 0) is 0, as the limit is; 0 * log 0 is a NaN.
            entropy = torch.special.xlogy(target, target)
            log_found = found.clamp_min(SMALLEST).log()
            nats = entropy - target * log_found
            nats = nats.sum(-1).mean(1)
            return masked_mean(nats, mask)
        # Relative, as in `hidden`: long texts have flat maps with small squares.
        squares = target.square().sum(-1).mean(1)
        power = masked_mean(squares, mask).clamp_min(SMALLEST)
        differences = found - target
        errors = differences.square().sum(-1).mean(1)
        return masked_mean(errors, mask) / power


def among_counted(maps: Tensor, mask: Tensor) -> Tensor:
    """(B, N, P, P) maps that are 0 at the places outside `mask` (B, P), and whose rows sum to 1
    over the others."""
    both = mask[:, None, :, None] & mask[:, None, None, :]
    kept = zero_where_not(both, maps)
    # The rest of a row's attention, to tokens that do not count, is shared out in proportion.
    sums = kept.sum(-1, keepdim=True)
    return kept / sums.clamp_min(SMALLEST)
