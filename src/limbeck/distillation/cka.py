"""How alike the layers of two models are on the same rows, by linear centred kernel alignment (Kornblith et al., 2019, arXiv 1905.00414, section 3):

    CKA(X, Y) = || Y^T X ||_F^2 / (|| X^T X ||_F || Y^T Y ||_F)        X, Y (N, D) of N units, their columns centred

between 0 and 1, blind to rotations and to the scale of either; the widths may differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from limbeck.models.taps import hidden_of, run_model
from limbeck.tasks import Batch

ROWS = 128  # of the training split on which layers are compared


@dataclass(frozen=True)
class Side:
    """A model, its layers by name, and the rows as it reads them."""

    model: nn.Module
    layers: Sequence[str]
    batches: Sequence[Batch]


def linear_cka(x: torch.Tensor, y: torch.Tensor) -> float:
    """CKA of (N, D) and (N, E); 0 where one of them is constant."""
    x, y = (values.double() - values.double().mean(0) for values in (x, y))
    scale = (x.T @ x).norm() * (y.T @ y).norm()
    return float((y.T @ x).square().sum() / scale) if scale > 0 else 0.0


def likeness(student: Side, teacher: Side) -> np.ndarray:
    """(student layers, teacher layers) CKA of the hidden maps over the units that both read."""
    own, theirs = hidden_units(student), hidden_units(teacher)
    counted = own[1] & theirs[1]
    return np.array([[linear_cka(x[counted], y[counted]) for y in theirs[0]] for x in own[0]])


def hidden_units(side: Side) -> tuple[list[torch.Tensor], torch.Tensor]:
    """(N, D) of each layer, and (N) which of the units count, over all batches; neither changes with how rows are batched."""
    side.model.eval()
    with torch.no_grad():
        outputs = [run_model(side.model, batch, hidden_of(side.layers)) for batch in side.batches]
    hidden = [
        torch.cat([output.hidden[name].flatten(0, 1) for output in outputs]) for name in side.layers
    ]
    return hidden, torch.cat([output.mask.flatten() for output in outputs])
