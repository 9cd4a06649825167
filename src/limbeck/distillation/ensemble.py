"""Several teachers as one: their answers on a batch combined, unit by unit.

| `combine` | logits of a unit |
|---|---|
| mean | log sum_i w_i softmax(z_i), sum_i w_i = 1 |
| best | of the teacher whose softmax gives the unit's label the most; without a label the mean |

z_i are the logits of teacher i, w_i its weight. `mean` is the arithmetic mean of the teachers'
distributions (Hinton, Vinyals, Dean, 2015, arXiv 1503.02531, section 1), which a loss softens like
the logits of one teacher. `best` takes the teacher whose cross-entropy on the unit is the smallest.

A unit counts where all teachers count, so they may read it by different tokenizers. Inner tensors
are the first teacher's alone: another one's layers have other widths and depths.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from limbeck.models.taps import Outputs
from limbeck.tasks import Batch

Answer = Callable[[Batch], Outputs | None]


@dataclass(frozen=True)
class Ensemble:
    """Teachers that answer together. `weights`: of the mean, one a teacher, above 0. `combine`: a
    row of the table above."""

    answers: Sequence[Answer]
    weights: Sequence[float]
    combine: str

    def __call__(self, batch: Batch) -> Outputs:
        """The teachers' outputs on the batch, on its device."""
        # None is in the type alone, for trainings without a teacher: here each one answers.
        answers = [answer(batch) for answer in self.answers]
        outputs = [output for output in answers if output is not None]
        # A cache answers on the CPU; the labels that choose the best teacher lie with the batch.
        device = batch.labels.device
        logits = torch.stack([output.logits for output in outputs])
        masks = torch.stack([output.mask for output in outputs])
        logits = logits.to(device, non_blocking=True)
        mask = masks.all(0).to(device, non_blocking=True)
        combined = mean_logits(logits, self.weights)
        if self.combine == "best":
            # A unit without a label takes that of class 0, and then the mean in its place.
            labels = batch.labels.clamp_min(0)
            best = best_logits(logits, labels)
            is_labelled = batch.labels >= 0
            combined = torch.where(is_labelled.unsqueeze(-1), best, combined)
        return replace(
            outputs[0],
            logits=combined,
            mask=mask,
        )


def mean_logits(logits: Tensor, weights: Sequence[float]) -> Tensor:
    """(B, W, V) log-probabilities of the weighted mean of K teachers' logits (K, B, W, V)."""
    # On the host, and added as numbers: a tensor made of them would have to be waited for.
    shares = torch.tensor(weights)
    shares = shares / shares.sum()
    log_shares = shares.log().tolist()
    log_p = logits.log_softmax(-1)
    weighted = []
    for teacher_log_p, log_share in zip(log_p, log_shares, strict=True):
        weighted.append(teacher_log_p + log_share)
    return torch.stack(weighted).logsumexp(0)


def best_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """(B, W, V) of K teachers' logits (K, B, W, V) those that give `labels` (B, W) the most."""
    num_teachers = len(logits)
    of_label = labels.unsqueeze(-1).expand(num_teachers, *labels.shape, 1)
    log_p = logits.log_softmax(-1)
    log_p_of_label = log_p.gather(-1, of_label)
    # The same teacher for all labels of a unit.
    best_teacher = log_p_of_label.argmax(0, keepdim=True)
    of_best = best_teacher.expand(1, *logits.shape[1:])
    return logits.gather(0, of_best)[0]
