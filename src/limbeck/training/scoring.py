"""A model's answers on a split: in evaluation mode, in float32, on the model's own device.

Shapes: W units of a row, V labels.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from limbeck.core.events import Reporter, silent, track
from limbeck.data.batches import evaluation_batches, padded_size
from limbeck.models.running import run_model
from limbeck.models.torch_batches import device_of, to_device, to_torch
from limbeck.tasks import Encoded, OverVocabulary, Scored, Task, collate, packed
from limbeck.tasks.packed import averaged, labels_of_answers


def score_split(
    model: nn.Module,
    encoded: Sequence[Encoded],
    task: Task,
    *,
    one_by_one: bool = False,
    tell: Reporter = silent,
) -> Scored:
    """The model's logits on every row, or what is kept of those of a vocabulary.

    Args:
        model: on any device; its mode is kept.
        encoded: the split as `task` reads it.
        task: says how rows are padded, and what is kept of their logits.
        one_by_one: batches of one row, for a model that quantizes dynamically: in a batch, a row's
            answer would depend on its neighbours.
        tell: hears how far it is.

    Returns:
        The answers in the order of `encoded`, on the host.
    """
    answers: list[np.ndarray] = [np.empty(0)] * len(encoded)
    was_training = model.training
    model.eval()
    batches = evaluation_batches(encoded, one_by_one)
    cost = partial(padded_size, packed.sizes(encoded))
    device = device_of(model)
    # Not inference mode: a tensor that a module keeps from here for its next call could not be
    # saved for a pass backward then.
    with torch.no_grad():
        for rows in track(batches, cost, tell):
            chosen = [encoded[row] for row in rows]
            batch = collate(chosen, rows, task.padding)
            outputs = run_model(model, to_device(to_torch(batch), device))
            logits = outputs.logits.cpu().numpy()
            # Batches are sorted by length, and answers are wanted in the order of the split.
            for row, each, values, mask in zip(rows, chosen, logits, batch.mask, strict=True):
                answers[row] = kept_of(task, each, masked(values, mask))
    model.train(was_training)
    return Scored(np.concatenate(answers), *labels_of_answers(encoded))


def kept_of(task: Task, row: Encoded, logits: np.ndarray) -> np.ndarray:
    """The answers of one row, (W, V) without padding, or what the task keeps of them."""
    num_units = len(row.labels)
    answers = logits[:num_units]
    # Of a vocabulary, all logits of a split would fill the memory: only figures are kept.
    if isinstance(task, OverVocabulary):
        return task.reduce(answers, row.labels)
    return averaged(row, answers)


def masked(logits: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Logits with the units that were cut off set to 0, which decides for the first label."""
    counts = mask[:, None]
    return np.where(counts, logits, 0)
