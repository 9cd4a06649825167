"""A model's answers on a split, in evaluation mode and float32."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from limbeck.core.events import Tell, silent, track
from limbeck.data.batches import evaluation_batches, padded_size
from limbeck.models.taps import run_model, to_torch
from limbeck.tasks import Encoded, Scored, SelfSupervised, Task, collate, packed
from limbeck.tasks.packed import unit_offsets


def score_split(
    model: nn.Module,
    encoded: Sequence[Encoded],
    task: Task,
    *,
    one_by_one: bool = False,
    tell: Tell = silent,
) -> Scored:
    """The model's logits on every row, in eval mode and float32, or what the task keeps of them.

    `one_by_one`: batches of one row, for a model that quantizes dynamically.
    """
    kept: list[np.ndarray] = [np.empty(0)] * len(encoded)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for rows in track(
            evaluation_batches(encoded, one_by_one),
            partial(padded_size, packed.sizes(encoded)),
            tell,
        ):
            chosen = [encoded[i] for i in rows]
            batch = to_torch(collate(chosen, rows, task.padding))
            outputs = run_model(model, batch)
            for index, row, values, mask in zip(
                rows, chosen, outputs.logits.numpy(), batch.mask.numpy(), strict=True
            ):
                answers = masked(values, mask)[: len(row.labels)]
                kept[index] = (
                    task.reduce(answers, row.labels)
                    if isinstance(task, SelfSupervised)
                    else answers
                )
    model.train(was_training)
    return Scored(np.concatenate(kept), packed.flat_labels(encoded), unit_offsets(encoded))


def masked(logits: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Logits with the units that were cut off set to 0, which decides for the first label."""
    return np.where(mask[:, None], logits, 0)
