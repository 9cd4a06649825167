"""Batches of numpy arrays as torch tensors, and on a device.

`to_device` is the only place of the package that moves a batch.
"""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import nn

from limbeck.tasks import Batch, Encoded, collate

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Moved = TypeVar("Moved", bound="DataclassInstance")


def to_torch(batch: Batch) -> Batch:
    """The same batch with torch tensors, which share the arrays' memory; `rows` stays numpy."""
    positions = None if batch.positions is None else torch.from_numpy(batch.positions)
    return Batch(
        {name: torch.from_numpy(value) for name, value in batch.inputs.items()},
        positions,
        torch.from_numpy(batch.labels),
        torch.from_numpy(batch.mask),
        batch.rows,
        windows=batch.windows,
    )


def batch_of(
    encoded: Sequence[Encoded],
    rows: np.ndarray,
    padding: dict[str, int],
) -> Batch:
    """Some of the encoded rows, by their numbers, as a batch of torch tensors on the CPU."""
    return to_torch(collate([encoded[i] for i in rows], rows, padding))


def to_device(
    value: Moved,
    device: torch.device,
) -> Moved:
    """A batch, or a model's outputs, with every tensor on `device`.

    The host does not wait for a copy to a device; `Batch.rows` stays where it is, since it finds
    rows of files on the host.
    """
    # Both are frozen dataclasses of tensors, dicts of tensors, and plain data.
    # `vars`, not the attributes: logits that are computed later stay so (`models.taps`).
    held = vars(value)
    moved = {each.name: move(held[each.name], device) for each in fields(value)}
    return replace(value, **moved)


def move(
    value: Any,
    device: torch.device,
) -> Any:
    """A tensor, or all tensors in a dict or a tuple, on `device`; anything else as it is."""
    if isinstance(value, torch.Tensor):
        if value.device == device:
            return value
        if device.type == "cuda" and value.device.type == "cpu":
            # A copy to a GPU runs beside the host's work only out of pinned memory.
            value = value.pin_memory()
        # Never to the CPU: the host would read the tensor before the copy has ended.
        return value.to(device, non_blocking=device.type != "cpu")
    if isinstance(value, dict):
        return {key: move(each, device) for key, each in value.items()}
    # `Batch.mixed`. A named tuple would lose its class.
    if type(value) is tuple:
        return tuple(move(each, device) for each in value)
    # `UnitLogits`, which are what they are computed from.
    if is_dataclass(value) and not isinstance(value, type):
        return to_device(value, device)
    return value


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's first parameter; the CPU for a model without any."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device
