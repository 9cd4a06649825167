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

# In a stage's folder. The store deletes the folder `checkpoint` once the stage is whole.
FILE = "checkpoint/last.safetensors"

# What the optimizer's tensors are called in the file, beside those of the modules.
OPTIMIZER = "optimizer"

# What was logged, point after point, as plain data.
History = list[dict[str, Any]]


def trained_parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """The parameters of an optimizer, group after group: their order names its state in a file."""
    parameters: list[nn.Parameter] = []
    for group in optimizer.param_groups:
        parameters += group["params"]
    return parameters


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
        optimizer: over the parameters of `modules`.
        step: how many steps are done.
        history: what was logged in them.
    """
    tensors: dict[str, torch.Tensor] = {}
    for part, module in modules.items():
        for name, tensor in model_state(module).items():
            tensors[f"{part}.{name}"] = tensor
    # An optimizer knows its parameters by identity, which no file keeps: they are numbered.
    for index, parameter in enumerate(trained_parameters(optimizer)):
        for key, value in optimizer.state[parameter].items():
            tensors[f"{OPTIMIZER}.{index}.{key}"] = value
    on_cpu = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    # A header of safetensors holds strings alone.
    header = {"step": str(step), "history": json.dumps(history)}
    path = folder / FILE
    path.parent.mkdir(exist_ok=True)
    # One file, so that weights and step cannot be of two different moments.
    write_bytes(path, save(on_cpu, header))


def read_checkpoint(
    folder: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer
) -> tuple[int, History]:
    """Put the last checkpoint back into `modules` and `optimizer`, in place.

    Args:
        folder: of the stage under way.
        modules: as `write_checkpoint` got them; on any device.
        optimizer: over the parameters of `modules`.

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
    # 1. The tensors of each part, under their names there.
    parts: dict[str, dict[str, torch.Tensor]] = {OPTIMIZER: {}}
    for part in modules:
        parts[part] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    # 2. The modules, whose parameters stay the objects that the optimizer knows.
    for part, module in modules.items():
        restore_state(module, parts[part])
    # 3. The optimizer's state of each parameter.
    parameters = trained_parameters(optimizer)
    for name, tensor in parts[OPTIMIZER].items():
        index, _, key = name.partition(".")
        parameter = parameters[int(index)]
        optimizer.state[parameter][key] = tensor.to(parameter.device)
    return int(header["step"]), json.loads(header["history"])
