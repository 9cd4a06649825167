"""The checkpoint of a training: one safetensors file, whole or not there.

It holds every tensor that changes while training (model, objective, optimizer), and in its JSON
header the step to run next and the history, so that a killed training goes on to the same bytes.
Tensors are written from the CPU, and go back to the device of what they are copied into.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from limbeck.core.files import write_bytes
from limbeck.models.weights import model_state, restore_state

FILE = "checkpoint/last.safetensors"

History = list[dict[str, Any]]


def trained_parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """The parameters of an optimizer, group after group: their order names its state in a file."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def write_checkpoint(
    folder: Path,
    modules: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    history: History,
) -> None:
    """Write the checkpoint from which `step` is the next to run.

    Args:
        folder: of the stage under way.
        modules: what is trained, by the name of its part of the file.
    """
    tensors = {
        f"{part}.{name}": tensor
        for part, module in modules.items()
        for name, tensor in model_state(module).items()
    }
    for index, parameter in enumerate(trained_parameters(optimizer)):
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{index}.{key}"] = value
    on_cpu = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    path = folder / FILE
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, save(on_cpu, {"step": str(step), "history": json.dumps(history)}))


def read_checkpoint(
    folder: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer
) -> tuple[int, History]:
    """Put the last checkpoint back into `modules` and `optimizer`.

    Returns:
        (the step to run next, the history); (0, []) where there is no checkpoint.

    Raises:
        ValueError: the checkpoint is of another model.
    """
    path = folder / FILE
    if not path.exists():
        return 0, []
    with safe_open(path, "pt") as file:
        header = file.metadata()
        names = list(file.keys())
        tensors = {name: file.get_tensor(name) for name in names}
    parts: dict[str, dict[str, torch.Tensor]] = {name: {} for name in (*modules, "optimizer")}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    for part, module in modules.items():
        restore_state(module, parts[part])
    for index, parameter in enumerate(trained_parameters(optimizer)):
        prefix = f"{index}."
        saved = {
            name.removeprefix(prefix): tensor
            for name, tensor in parts["optimizer"].items()
            if name.startswith(prefix)
        }
        if saved:
            optimizer.state[parameter] = {
                key: value.to(parameter.device) for key, value in saved.items()
            }
    return int(header["step"]), json.loads(header["history"])
