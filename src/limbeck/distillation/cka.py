"""How alike the layers of two models are on the same rows, by linear centred kernel alignment
(Kornblith et al., 2019, arXiv 1905.00414, section 3):

    CKA(X, Y) = || Y^T X ||_F^2 / (|| X^T X ||_F || Y^T Y ||_F)

X (N, D) and Y (N, E) are hidden maps of the same N units, their columns centred. Between 0 and 1,
blind to rotations and to the scale of either; the widths may differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from limbeck.models.precision import in_float64
from limbeck.models.running import run_model
from limbeck.models.taps import hidden_of
from limbeck.models.torch_batches import device_of, to_device
from limbeck.tasks import Batch

# Of the training split: enough to tell layers apart, and a second's work for a small teacher.
ROWS = 128


@dataclass(frozen=True)
class Side:
    """One of the two models: its layers by name, and the rows as it reads them, in batches of
    tensors."""

    model: nn.Module
    layers: Sequence[str]
    batches: Sequence[Batch]


def linear_cka(x: Tensor, y: Tensor) -> float:
    """CKA of (N, D) and (N, E) on the CPU; 0 where one of them is constant."""
    # float64: centring cancels most digits of maps whose mean is far from 0.
    x = in_float64(x)
    y = in_float64(y)
    x = x - x.mean(0)
    y = y - y.mean(0)
    x_norm = (x.T @ x).norm()
    y_norm = (y.T @ y).norm()
    scale = x_norm * y_norm
    if not scale > 0:
        return 0.0
    alignment = (y.T @ x).square().sum()
    return float(alignment / scale)


def likeness(student: Side, teacher: Side) -> np.ndarray:
    """(student's layers, teacher's layers) CKA of their hidden maps, over the units that both
    models read."""
    student_maps, student_mask = hidden_units(student)
    teacher_maps, teacher_mask = hidden_units(teacher)
    # Both read the same rows in the same order, so units meet by their numbers.
    mask = student_mask & teacher_mask
    table = np.zeros((len(student_maps), len(teacher_maps)))
    for row, x in enumerate(student_maps):
        for column, y in enumerate(teacher_maps):
            table[row, column] = linear_cka(x[mask], y[mask])
    return table


def hidden_units(side: Side) -> tuple[list[Tensor], Tensor]:
    """((N, D) for each layer, (N) which of the units count) over all batches, on the CPU."""
    side.model.eval()
    taps = hidden_of(side.layers)
    device = device_of(side.model)
    outputs = []
    with torch.no_grad():
        for batch in side.batches:
            on_device = to_device(batch, device)
            outputs.append(run_model(side.model, on_device, taps))
    # To the CPU, once a training: some devices have no float64.
    hidden = []
    for layer in side.layers:
        maps = [output.hidden[layer].cpu() for output in outputs]
        units = [each.flatten(0, 1) for each in maps]
        hidden.append(torch.cat(units))
    masks = [output.mask.flatten() for output in outputs]
    return hidden, torch.cat(masks).cpu()
