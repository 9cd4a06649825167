"""What leaving out a part of what linear layers read would cost: attention heads at the output projection, feed-forward units at the second layer.

With a gate z = 1 on a part a (a head's columns of the context, a unit's activation), over rows x and tokens t:

    gradient     E_x |dL_x/dz| = E_x |sum_t a_t . dL_x/da_t|     (Michel et al., 2019, arXiv 1905.10650, equation 3; the gate of Molchanov et al.,
                 2019, arXiv 1906.10771, section 3.2, whose square is left out)
    activation   E |a| over the tokens that count

Both need some training rows, the first also their labels: L_x is the task's own loss, summed over the row.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from limbeck.core import registry
from limbeck.models.running import run_model
from limbeck.models.taps import Outputs
from limbeck.surgeries import Evidence
from limbeck.tasks import UNKNOWN, Batch


def importance(
    model: nn.Module, readers: Mapping[str, int], evidence: Evidence, kind: str
) -> dict[str, torch.Tensor]:
    """(P) float64 of the parts that each of some linear layers reads; `readers`: name to neighbouring columns a part. The model is left as it was.

    Raises ValueError where gradients are asked for and no row is labelled.
    """
    hard: Any = registry.create("losses", evidence.task.hard_loss)
    found = {
        name: torch.zeros(reader(model, name).in_features // size, dtype=torch.float64)
        for name, size in readers.items()
    }
    was_training, labelled = model.training, 0
    model.eval()
    for batch in evidence.batches:
        with torch.set_grad_enabled(kind == "gradient"):
            outputs, read = reading(model, batch, readers)
        known = (batch.labels != UNKNOWN) & ~batch.labels.isnan()
        labels = int(
            (batch.mask & known.view(*batch.mask.shape, -1).any(-1)).sum()
        )  # a unit may have several
        labelled += labels
        if kind == "gradient" and labels:
            loss = labels * hard(outputs, outputs, batch, 0.0)
            gradients = dict(zip(read, torch.autograd.grad(loss, list(read.values())), strict=True))
            for name, size in readers.items():
                found[name] += (
                    parts(read[name].detach() * gradients[name], size)
                    .flatten(1, -2)
                    .sum(1)
                    .abs()
                    .sum(0)
                )
        elif kind == "activation":
            for name, size in readers.items():
                found[name] += counted(read[name].abs(), batch, size)
    model.train(was_training)
    if kind == "gradient" and not labelled:
        raise ValueError(
            "student: none of the training rows that were drawn is labelled, and importance: gradient needs labels. Take activation or magnitude"
        )
    return found


def reading(
    model: nn.Module, batch: Batch, names: Mapping[str, int]
) -> tuple[Outputs, dict[str, torch.Tensor]]:
    """A forward, and what the named layers read in it."""
    read: dict[str, torch.Tensor] = {}
    handles = [reader(model, name).register_forward_pre_hook(keep(name, read)) for name in names]
    outputs = run_model(model, batch)
    for handle in handles:
        handle.remove()
    return outputs, read


def keep(name: str, read: dict[str, torch.Tensor]) -> Callable[..., None]:
    """A hook that leaves what a layer reads."""

    def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        read[name] = (
            inputs[0].requires_grad_() if torch.is_grad_enabled() else inputs[0]
        )  # of a frozen module too

    return hook


def parts(values: torch.Tensor, size: int) -> torch.Tensor:
    """(B, ..., P size) to (B, ..., P) sums, in float64."""
    return values.double().unflatten(-1, (-1, size)).sum(-1)


def counted(values: torch.Tensor, batch: Batch, size: int) -> torch.Tensor:
    """(P) sums over rows and the tokens that count."""
    mask = batch.inputs.get("attention_mask")
    summed = parts(values, size)
    return (summed if mask is None else summed * mask.unsqueeze(-1)).flatten(0, -2).sum(0)


def reader(model: nn.Module, name: str) -> nn.Linear:
    """A linear layer, by name."""
    module = model.get_submodule(name)
    assert isinstance(module, nn.Linear)
    return module
