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
from limbeck.models.projection import in_chunks
from limbeck.models.running import run_model
from limbeck.models.taps import Outputs, some_units
from limbeck.models.torch_batches import device_of, to_device, to_torch
from limbeck.tasks import Batch, Encoded, OverVocabulary, Scored, Task, collate, packed
from limbeck.tasks.packed import averaged, labels_of_answers


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
            seen = to_device(to_torch(batch), device)
            outputs = run_model(model, seen, project_later=isinstance(task, OverVocabulary))
            # Batches are sorted by length, and answers are wanted in the order of the split.
            for row, answer in zip(rows, answers_of(task, chosen, batch, outputs), strict=True):
                answers[row] = answer
    model.train(was_training)
    return Scored(np.concatenate(answers), *labels_of_answers(encoded))


def answers_of(
    task: Task,
    rows: Sequence[Encoded],
    batch: Batch,
    outputs: Outputs,
) -> list[np.ndarray]:
    """The answers of each row of a batch, (W, V) without padding, or what the task keeps of them.

    `batch`: of numpy arrays.
    """
    if isinstance(task, OverVocabulary):
        return kept_by_chunk(task, rows, batch, outputs)
    answers = []
    logits = outputs.logits.cpu().numpy()
    for row, values, mask in zip(rows, logits, batch.mask, strict=True):
        own = masked(values, mask)[: len(row.labels)]
        answers.append(kept_of(task, row, own))
    return answers


def kept_of(
    task: Task,
    row: Encoded,
    logits: np.ndarray,
) -> np.ndarray:
    """The answers of one row (W, V), without padding, or what the task keeps of them."""
    # Of a vocabulary, all logits of a split would fill the memory: only figures are kept.
    if isinstance(task, OverVocabulary):
        return task.reduce(logits, row.labels)
    return averaged(row, logits)


def kept_by_chunk(
    task: OverVocabulary,
    rows: Sequence[Encoded],
    batch: Batch,
    outputs: Outputs,
) -> list[np.ndarray]:
    """What the task keeps of each row's answers, some units at a time: logits of a vocabulary fill
    the memory by the batch too."""
    counts = np.array([len(row.labels) for row in rows])
    is_own = np.arange(batch.mask.shape[1]) < counts[:, None]
    units = np.flatnonzero(is_own)
    mask = batch.mask.ravel()
    labels = batch.labels.ravel()
    kept = []
    device = outputs.mask.device
    for some in in_chunks(torch.from_numpy(units), outputs.num_labels):
        logits = some_units(outputs, some.to(device)).logits[0].cpu().numpy()
        numbers = some.numpy()
        kept.append(task.reduce(masked(logits, mask[numbers]), labels[numbers]))
    if not kept:
        empty = np.empty((0, outputs.num_labels), np.float32)
        kept.append(task.reduce(empty, labels[:0]))
    ends = np.cumsum(counts)
    return np.split(np.concatenate(kept), ends[:-1])


def masked(
    logits: np.ndarray,
    mask: np.ndarray,
) -> np.ndarray:
    """Logits with the units that were cut off set to 0, which decides for the first label."""
    counts = mask[:, None]
    return np.where(counts, logits, 0)
