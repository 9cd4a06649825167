"""Several teachers as one: their answers on a batch combined, unit by unit.

    mean    log sum_i w_i softmax(z_i), sum_i w_i = 1: the arithmetic mean of their distributions (Hinton, Vinyals, Dean, 2015, arXiv 1503.02531,
            section 1), which a loss softens like the logits of one teacher
    best    for each labelled unit the teacher whose softmax gives its label the most, that is, whose loss is the smallest there; for the others the
            mean

A unit counts where all teachers count, so they may read it by different tokenizers. Inner maps are the first teacher's alone: another one's layers
have other widths and depths.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from limbeck.models.taps import Outputs
from limbeck.tasks import Batch

Answer = Callable[[Batch], Outputs | None]


@dataclass(frozen=True)
class Ensemble:
    """`weights` of the mean, one a teacher; `combine`: mean or best."""

    answers: Sequence[Answer]
    weights: Sequence[float]
    combine: str

    def __call__(self, batch: Batch) -> Outputs:
        """The teachers' outputs on the batch."""
        outputs = [each for answer in self.answers if (each := answer(batch)) is not None]
        logits = torch.stack([each.logits for each in outputs])
        combined = mean(logits, torch.tensor(self.weights))
        if self.combine == "best":
            combined = torch.where(
                (batch.labels >= 0).unsqueeze(-1), best(logits, batch.labels.clamp_min(0)), combined
            )
        return replace(
            outputs[0], logits=combined, mask=torch.stack([each.mask for each in outputs]).all(0)
        )


def mean(logits: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(B, W, V) log-probabilities of the weighted mean of (K, B, W, V)."""
    shares = (weights / weights.sum()).log().view(-1, 1, 1, 1)
    return (logits.log_softmax(-1) + shares).logsumexp(0)


def best(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(B, W, V) of (K, B, W, V) the logits of the teacher that gives `labels` (B, W) the most."""
    index = labels.unsqueeze(-1).expand(len(logits), *labels.shape, 1)
    chosen = logits.log_softmax(-1).gather(-1, index).argmax(0, keepdim=True)
    return logits.gather(0, chosen.expand(1, *logits.shape[1:]))[0]
