"""The rows that a quantized model answers otherwise than in float, and where each goes astray.

A row leaves the float model at the first layer whose output on that row has a relative error
|x^ - x| / |x| above LEAVES (`rule: threshold`). Where no layer's has, it leaves at the layer where
that error grows most (`rule: jump`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from limbeck.analysis.side_by_side import modules_of, paired_outputs, recipe_names
from limbeck.analysis.signals import signal_of
from limbeck.models.torch_batches import batch_of
from limbeck.quantization.modules.swap import Quantized
from limbeck.tasks import Batch, Encoded, Scored, Task, differs
from limbeck.tasks.heads.number import Number
from limbeck.tasks.joined import JoinedTask
from limbeck.training.scoring import score_split

# Rows looked at one by one, each of which takes two forwards.
MOST_ROWS = 50

# A relative error of 20 dB, below which a layer's output is taken to be near enough.
LEAVES = 0.1


def changed_answers(
    quantized: nn.Module,
    plain: nn.Module,
    task: Task,
    encoded: Sequence[Encoded],
    answers: Scored,
) -> dict[str, Any]:
    """How many rows are answered otherwise than by the float model, and where the first ones leave.

    Args:
        quantized: the model in eval mode.
        plain: the same model with its quantizers turned off.
        task: what is predicted.
        encoded: the rows.
        answers: the quantized model's, on these rows.

    Returns:
        `rows` changed `of` all, `threshold`, and `first`: for each of the first MOST_ROWS its
        number, its label and both answers at its first changed unit, and `first_departure`.
    """
    exact = score_split(plain, encoded, task)
    # Several labels of one unit are one answer.
    of_labels = differs(task, exact, answers).reshape(len(exact.labels), -1)
    is_changed = np.atleast_1d(of_labels.any(1))
    # The row of a unit is the last one that begins at it or before.
    units = np.flatnonzero(is_changed)
    rows = np.unique(np.searchsorted(exact.offsets, units, "right") - 1)
    decided = {
        "label": exact.labels,
        "float": task.decisions(exact),
        "quantized": task.decisions(answers),
    }
    first = []
    for row in rows[:MOST_ROWS].tolist():
        unit = units[np.searchsorted(units, exact.offsets[row])]
        told = {key: spelled(task, of_units[unit]) for key, of_units in decided.items()}
        batch = batch_of(encoded, np.array([row]), task.padding)
        errors = layer_errors(quantized, plain, batch)
        first.append({"row": row, **told, **first_departure(errors)})
    return {
        "rows": len(rows),
        "of": len(encoded),
        "threshold": LEAVES,
        "first": first,
    }


def layer_errors(
    quantized: nn.Module,
    plain: nn.Module,
    batch: Batch,
) -> dict[str, float]:
    """The relative error of each layer's output on a batch, in the order in which they run."""
    names = recipe_names(quantized)
    layers = list(modules_of(quantized, Quantized))
    with torch.no_grad():
        outputs = paired_outputs(plain, quantized, layers, batch)
    errors = {}
    for path, (exact, rounded) in outputs.items():
        errors[names[path]] = signal_of(exact, rounded).error
    return errors


def first_departure(errors: Mapping[str, float]) -> dict[str, Any]:
    """The layer at which a row leaves the float model.

    `errors`: the relative error of each layer's output, in the order in which they run.
    """
    for layer, error in errors.items():
        if error > LEAVES:
            return {"layer": layer, "rule": "threshold", "error": error}
    # The first layer's error has grown from that of the input, which is none.
    before = 0.0
    growth = {}
    for layer, error in errors.items():
        growth[layer] = error - before
        before = error
    steepest = max(growth, key=lambda layer: growth[layer])
    return {"layer": steepest, "rule": "jump", "error": errors[steepest]}


def spelled(task: Task, decision: Any) -> str:
    """A decision as a reader knows it: a label's name, several names, or a number.

    A number is on the scale of the labels; a similarity, which has none, in per cent. A decision
    that has no name, such as an item's number in a ranking, is "-".
    """
    if task.likelihood == "gaussian":
        # An item's number is an integer.
        is_score = np.issubdtype(np.asarray(decision).dtype, np.floating)
        if is_score and isinstance(task, JoinedTask) and isinstance(task.head, Number):
            low, high = task.head.bounds
            return f"{low + (high - low) * float(decision):.4g}"
        return f"{100 * decision:.1f} %" if is_score else "-"
    if np.ndim(decision):
        pairs = zip(task.labels, decision > 0, strict=True)
        return ", ".join(label for label, is_on in pairs if is_on) or "none"
    return task.labels[int(decision)]
