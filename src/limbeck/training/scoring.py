"""A model's answers on a split, in evaluation mode and float32, on the device where the model lies."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from limbeck.core.events import Reporter, silent, track
from limbeck.data.batches import evaluation_batches, padded_size
from limbeck.models.running import run_model
from limbeck.models.torch_batches import device_of, to_device, to_torch
from limbeck.tasks import Encoded, Scored, SelfSupervised, Task, collate, packed
from limbeck.tasks.packed import unit_offsets


def score_split(
    model: nn.Module,
    encoded: Sequence[Encoded],
    task: Task,
    *,
    one_by_one: bool = False,
    tell: Reporter = silent,
) -> Scored:
    """The model's logits on every row, or what a self-supervised task keeps of them.

    Args:
        encoded: the split as `task` reads it.
        one_by_one: batches of one row, for a model that quantizes dynamically: in a batch, a row's
            answer would depend on its neighbours.

    Returns:
        The answers in the order of `encoded`, on the host.
    """
    answers: list[np.ndarray] = [np.empty(0)] * len(encoded)
    was_training = model.training
    model.eval()
    batches = evaluation_batches(encoded, one_by_one)
    cost = partial(padded_size, packed.sizes(encoded))
    device = device_of(model)
    with torch.inference_mode():
        for rows in track(batches, cost, tell):
            chosen = [encoded[row] for row in rows]
            batch = collate(chosen, rows, task.padding)
            outputs = run_model(model, to_device(to_torch(batch), device))
            logits = outputs.logits.cpu().numpy()
            for row, each, values, mask in zip(rows, chosen, logits, batch.mask, strict=True):
                answers[row] = kept_of(task, each, masked(values, mask))
    model.train(was_training)
    return Scored(np.concatenate(answers), packed.flat_labels(encoded), unit_offsets(encoded))


def kept_of(task: Task, row: Encoded, logits: np.ndarray) -> np.ndarray:
    """The answers of one row, (W, V) without padding, or what the task keeps of them."""
    answers = logits[: len(row.labels)]
    return task.reduce(answers, row.labels) if isinstance(task, SelfSupervised) else answers


def masked(logits: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Logits with the units that were cut off set to 0, which decides for the first label."""
    return np.where(mask[:, None], logits, 0)
