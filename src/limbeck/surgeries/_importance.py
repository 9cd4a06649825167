"""What leaving out a part of what linear layers read would cost: attention heads at the output
projection, feed-forward units at the second layer.

With a gate z = 1 on a part a (a head's columns of the context, a unit's activation), over rows x
and tokens t:

    gradient     E_x |dL_x/dz| = E_x |sum_t a_t . dL_x/da_t|
    activation   E |a| over the tokens that count

`gradient` is equation 3 of Michel et al., 2019, arXiv 1905.10650, and the gate of Molchanov et al.,
2019, arXiv 1906.10771, section 3.2, whose square is left out. Both need some training rows, the
first also their labels: L_x is the task's own loss, summed over the row. Sums stand in place of the
means: only their order matters.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.core import registry
from limbeck.models.precision import widest_dtype
from limbeck.models.running import run_model
from limbeck.models.taps import Outputs
from limbeck.models.torch_batches import device_of
from limbeck.surgeries import Evidence
from limbeck.tasks import UNKNOWN, Batch


def importance(
    model: nn.Module,
    readers: Mapping[str, int],
    evidence: Evidence,
    kind: str,
) -> dict[str, Tensor]:
    """(P) how much each part counts that each of some linear layers reads, on the model's device.

    `readers`: by a linear layer's name, how many neighbouring columns are a part. `kind`:
    `gradient` or `activation`. The model is left as it was.

    Raises ValueError where gradients are asked for and no row is labelled.
    """
    # Without dropout, so that the same cut twice is the same student.
    was_training = model.training
    model.eval()
    batches = evidence.batches_on(device_of(model))
    if kind == "gradient":
        hard_loss = registry.create("losses", evidence.task.hard_loss)
        by_batch = [gradient_sums(model, readers, batch, hard_loss) for batch in batches]
    else:
        by_batch = [activation_sums(model, readers, batch) for batch in batches]
    model.train(was_training)
    total: dict[str, Tensor] = {}
    for sums in by_batch:
        for name, values in sums.items():
            total[name] = total[name] + values if name in total else values
    if not total:
        raise ValueError(
            "student: none of the training rows that were drawn is labelled, and importance: "
            "gradient needs labels. Take activation or magnitude"
        )
    return total


def gradient_sums(
    model: nn.Module,
    readers: Mapping[str, int],
    batch: Batch,
    hard_loss: Any,
) -> dict[str, Tensor]:
    """(P) the sum over rows of |dL_x/dz|, by layer; empty where no unit is labelled."""
    with torch.enable_grad():
        outputs, read = run_reading(model, batch, readers)
        num_labels = int(labelled_units(batch).sum())
        if num_labels == 0:
            return {}
        # The loss is a mean over the labelled units, and rows must not lose weight in a batch of
        # long ones.
        total = num_labels * hard_loss(outputs, outputs, batch, 0.0)
        gradients = torch.autograd.grad(total, list(read.values()))
    sums = {}
    for (name, values), gradient in zip(read.items(), gradients, strict=True):
        slopes = with_rows(values.detach() * gradient, batch)
        by_token = sums_of_parts(slopes, readers[name])
        # The absolute value is taken of a row's sum, not of each token: a gate stands on all tokens
        # of a row at once.
        by_row = by_token.flatten(1, -2).sum(1)
        sums[name] = by_row.abs().sum(0)
    return sums


def labelled_units(batch: Batch) -> Tensor:
    """(B, W), True for a unit that counts and has a label; of several labels, any."""
    known = (batch.labels != UNKNOWN) & ~batch.labels.isnan()
    return batch.mask & known.view(*batch.mask.shape, -1).any(-1)


def activation_sums(
    model: nn.Module,
    readers: Mapping[str, int],
    batch: Batch,
) -> dict[str, Tensor]:
    """(P) the sum of |a| over rows and the tokens that count, by layer."""
    with torch.no_grad():
        _, read = run_reading(model, batch, readers)
    token_mask = batch.inputs.get("attention_mask")
    sums = {}
    for name, values in read.items():
        by_token = sums_of_parts(with_rows(values.abs(), batch), readers[name])
        # Padding is computed like any token, and would be counted.
        if token_mask is not None:
            by_token = by_token * token_mask.unsqueeze(-1)
        sums[name] = by_token.flatten(0, -2).sum(0)
    return sums


def run_reading(
    model: nn.Module,
    batch: Batch,
    names: Mapping[str, int],
) -> tuple[Outputs, dict[str, Tensor]]:
    """A forward, and what the named layers read in it."""
    read: dict[str, Tensor] = {}
    handles = []
    for name in names:
        hook = keep_input(name, read)
        handles.append(model.get_submodule(name).register_forward_pre_hook(hook))
    # Through `run_model`, so that the loss sees what it sees in training.
    outputs = run_model(model, batch)
    for handle in handles:
        handle.remove()
    return outputs, {name: read[name] for name in names}


def keep_input(name: str, read: dict[str, Tensor]) -> Callable[..., None]:
    """A hook that leaves what a layer reads in `read`."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0]
        # What a frozen module made has no gradient unless it is asked for.
        read[name] = values.requires_grad_() if torch.is_grad_enabled() else values

    return hook


def with_rows(values: Tensor, batch: Batch) -> Tensor:
    """(B, T, D) what a layer reads, which OPT's feed-forward part has as (B T, D)."""
    num_rows = len(batch.mask)
    # Of a model that reads one vector a row, those are rows already.
    is_flat = values.ndim == 2 and len(values) != num_rows
    return values.unflatten(0, (num_rows, -1)) if is_flat else values


def sums_of_parts(values: Tensor, size: int) -> Tensor:
    """(B, ..., P) sums over the `size` neighbours of each part, of (B, ..., P size)."""
    return wide(values).unflatten(-1, (-1, size)).sum(-1)


def wide(values: Tensor) -> Tensor:
    """In float64, or in float32 on a device that lacks it (Apple's)."""
    return values.to(widest_dtype(values.device))


def reader(model: nn.Module, name: str) -> nn.Linear:
    """A linear layer, by name."""
    module = model.get_submodule(name)
    assert isinstance(module, nn.Linear)
    return module
