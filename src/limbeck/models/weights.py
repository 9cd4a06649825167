"""A model's parameters and buffers by name: read, put back, saved as safetensors."""

from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from limbeck.core.files import write_bytes

WEIGHTS = "model.safetensors"


def model_state(module: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer once, by its first name; shared tensors stay shared."""
    return {
        name: tensor.detach()
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]
    }


def restore_state(module: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Copy `tensors` of `state` back. Raises ValueError where names or shapes differ."""
    own = model_state(module)
    if own.keys() != tensors.keys():
        raise ValueError(
            f"these weights are of another model; they differ in {sorted(own.keys() ^ tensors.keys())[:5]}"
        )
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise ValueError(
                f"`{name}` is {tuple(tensors[name].shape)} in the file and {tuple(tensor.shape)} in the model"
            )
        tensor.copy_(tensors[name])


def save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Tensors by name as safetensors, atomically."""
    write_bytes(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))
