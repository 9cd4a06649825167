"""What a model answers on a split: quality, agreement with the teacher."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from limbeck import features, metrics, packed
from limbeck.data import in_order, padded_size
from limbeck.progress import Tell, silent, track
from limbeck.tasks import Batch, Encoded, Scored, Scoring, SelfSupervised, Task, collate, differs, figures, is_known

EVALUATION_TOKENS = 4096
EVALUATION_ROWS = 256


def score(model: nn.Module, encoded: Sequence[Encoded], task: Task, *, one_by_one: bool = False, tell: Tell = silent) -> Scored:
    """The model's logits on every row, in eval mode and float32, or what the task keeps of them.

    `one_by_one`: batches of one row, for a model that quantizes dynamically.
    """
    kept: list[np.ndarray] = [np.empty(0)] * len(encoded)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for rows in track(evaluation_batches(encoded, one_by_one), partial(padded_size, packed.sizes(encoded)), tell):
            chosen = [encoded[i] for i in rows]
            batch = features.to_torch(collate(chosen, rows, task.padding))
            outputs = features.run(model, batch)
            for index, row, values, mask in zip(rows, chosen, outputs.logits.numpy(), batch.mask.numpy(), strict=True):
                answers = masked(values, mask)[: len(row.labels)]
                kept[index] = task.reduce(answers, row.labels) if isinstance(task, SelfSupervised) else answers
    model.train(was_training)
    return Scored(np.concatenate(kept), packed.flat_labels(encoded), unit_offsets(encoded))


def wide_logits(model: nn.Module, batches: Sequence[Batch]) -> list[torch.Tensor]:
    """(B, W, V) of each batch, in float64: an int8 weight's divergence is of the size of float32's own rounding."""
    with torch.no_grad():
        return [features.run(model, batch).logits.double() for batch in batches]


def divergence(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """(B, W) KL(p || q) in nats, of (B, W, V)."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def evaluation_batches(encoded: Sequence[Encoded], one_by_one: bool = False) -> list[np.ndarray]:
    """Batches by size, or of one row."""
    return in_order(packed.sizes(encoded), 1 if one_by_one else budget(encoded))


def batches_of(rows: Sequence[Encoded], task: Task) -> list[Batch]:
    """Rows in such batches, of torch tensors."""
    return [features.batch_of(rows, part, task.padding) for part in evaluation_batches(rows)]


def budget(encoded: Sequence[Encoded]) -> int:
    """What a batch of a pass without training may cost."""
    return EVALUATION_TOKENS if encoded[0].has_tokens else EVALUATION_ROWS


def unit_offsets(encoded: Sequence[Encoded]) -> np.ndarray:
    """(N + 1) the first unit of each row in the flat layout of `Scored`."""
    return np.concatenate([[0], np.cumsum(packed.unit_counts(encoded))])


def masked(logits: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Logits with the units that were cut off set to 0, which decides for the first label."""
    return np.where(mask[:, None], logits, 0)


def quality(scored: Scored, task: Task) -> dict[str, float]:
    """Every metric of the task on a split."""
    every_row_once = np.ones((1, len(scored.offsets) - 1))
    return {name: float(value[0]) for name, value in figures(task, scored, every_row_once).items()}


def details(scored: Scored, task: Task) -> dict[str, Any]:
    """The per-label report, and the confusion matrix where labels exclude one another; nothing where they are a vocabulary or numbers."""
    if isinstance(task, SelfSupervised | Scoring):
        return {}
    if task.likelihood == "bernoulli":
        hits, predicted, true = np.split(task.statistics(scored).sum(0)[: 3 * len(task.labels)], 3)
        return {"per_label": metrics.report(hits, predicted, true, list(task.labels))}
    counts = metrics.confusion(scored.labels, scored.decisions, len(task.labels))
    labels = list(task.labels)
    return {"per_label": metrics.per_label(counts, labels), "confusion": {"labels": labels, "counts": counts.tolist()}}


def agreement(scored: Scored, other: Scored, task: Task) -> float:
    """The share of decisions, of those whose label is known, that two models make alike."""
    return 1 - float(differs(task, scored, other).sum() / is_known(scored.labels).sum())
