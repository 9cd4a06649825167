"""The checkpoint of a training: one safetensors file, whole or not there.

It holds every tensor that changes while training (model, objective, optimizer), and in its JSON
header the step to run next and the history, so that a killed training goes on to the same bytes.
Tensors are written from the CPU, and go back to the device of what they are copied into.

The header has a SHA-256 of all of that: a file that a disk has altered is left aside, and the
training begins anew.

The model's weights after the best epoch so far lie in a file of their own, which is named after its
step. The one that the last checkpoint knows stays until there is a later checkpoint, so that a kill
between the two files leaves both of them whole.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from limbeck.core.events import Note, Reporter, silent
from limbeck.core.files import write_bytes
from limbeck.models.weights import content_of, model_state, restore_state

# In a stage's folder. The store deletes the folder `checkpoint` once the stage is whole.
FOLDER = "checkpoint"
FILE = f"{FOLDER}/last.safetensors"
BEST = "best-*.safetensors"  # the star is the number of steps that were done

# What the optimizer's tensors are called in the file, beside those of the modules.
OPTIMIZER = "optimizer"

# The key of the header for the SHA-256 of everything else.
DIGEST = "sha256"

# What a file raises that is no checkpoint, or is cut off; a disk's own errors are told as such.
UNREADABLE = (SafetensorError, ValueError, KeyError, TypeError, RecursionError)
MOST_REASON = 200  # characters of it that are told


class Broken(ValueError):
    """A checkpoint that is not what was written."""


# What was logged, point after point, as plain data.
History = list[dict[str, Any]]


def trained_parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """The parameters of an optimizer, group after group: their order names its state in a file."""
    parameters: list[nn.Parameter] = []
    for group in optimizer.param_groups:
        parameters += group["params"]
    return parameters


class Standing(NamedTuple):
    """How a training stands beside its weights and history.

    best: the step of the weights that `write_best` left; None where there are none.
    spent: seconds that its steps took.
    """

    best: int | None = None
    spent: float = 0.0


BEGINNING = Standing()


def write_checkpoint(
    folder: Path,
    modules: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    history: History,
    standing: Standing = BEGINNING,
) -> None:
    """Write the checkpoint from which `step` is the next to run.

    Args:
        folder: of the stage under way.
        modules: what is trained, by the name of its part of the file.
        optimizer: over the parameters of `modules`.
        step: how many steps are done.
        history: what was logged in them.
        standing: the best weights so far, and the time that it took.
    """
    tensors: dict[str, torch.Tensor] = {}
    for part, module in modules.items():
        for name, tensor in model_state(module).items():
            tensors[f"{part}.{name}"] = tensor
    # An optimizer knows its parameters by identity, which no file keeps: they are numbered.
    for index, parameter in enumerate(trained_parameters(optimizer)):
        for key, value in optimizer.state[parameter].items():
            tensors[f"{OPTIMIZER}.{index}.{key}"] = value
    # One file, so that weights and step cannot be of two different moments.
    header = {"step": str(step), "history": json.dumps(history)}
    header |= {name: json.dumps(value) for name, value in standing._asdict().items()}
    _write(folder / FILE, tensors, header)


def _write(path: Path, tensors: Mapping[str, torch.Tensor], header: dict[str, str]) -> None:
    """Write tensors from any device and what stands beside them, as `_whole` reads and checks it.

    A header of safetensors holds strings alone.
    """
    on_cpu = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    header[DIGEST] = content_digest(on_cpu, header)
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, save(on_cpu, header))


def best_file(folder: Path, step: int) -> Path:
    """Where the model lies that was the best after `step` steps."""
    return folder / FOLDER / BEST.replace("*", str(step))


def write_best(folder: Path, model: nn.Module, step: int) -> None:
    """Write the weights of the best epoch so far, which ended after `step` steps."""
    _write(best_file(folder, step), model_state(model), {"step": str(step)})


def read_best(folder: Path, model: nn.Module, step: int) -> None:
    """Put the weights that `write_best` wrote back into `model`, in place.

    Raises:
        UNREADABLE: the file is not what was written.
    """
    tensors, _ = _whole(best_file(folder, step))
    restore_state(model, tensors)


def keep_best(folder: Path, steps: Collection[int]) -> None:
    """Remove the weights of all other epochs than those that ended after `steps`."""
    kept = {best_file(folder, step) for step in steps}
    for path in (folder / FOLDER).glob(BEST):
        if path not in kept:
            path.unlink()


def content_digest(tensors: Mapping[str, torch.Tensor], header: Mapping[str, str]) -> str:
    """SHA-256 (hex) of names, types, shapes and bytes of tensors on the CPU, and of the header."""
    beside = {name: text for name, text in header.items() if name != DIGEST}
    sha = hashlib.sha256(json.dumps(beside, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        sha.update(content_of(tensor))
    return sha.hexdigest()


def seconds_spent(folder: Path) -> float:
    """What the steps of the last checkpoint took; 0 where there is none. `read_checkpoint` says
    whether it is whole."""
    path = folder / FILE
    if not path.exists():
        return 0.0
    # The header alone: the tensors were read, and their digest compared, a moment ago.
    with safe_open(path, "pt") as file:
        header = file.metadata() or {}
    return float(header["spent"])


def read_checkpoint(
    folder: Path,
    modules: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    tell: Reporter = silent,
) -> tuple[int, History]:
    """Put the last checkpoint back into `modules` and `optimizer`, in place.

    Args:
        folder: of the stage under way.
        modules: as `write_checkpoint` got them; on any device.
        optimizer: over the parameters of `modules`.
        tell: is told of a checkpoint that is broken.

    Returns:
        (the step to run next, the history); (0, []) where there is no checkpoint, or a broken one.

    Raises:
        ValueError: the checkpoint is of another model.
    """
    path = folder / FILE
    if not path.exists():
        return 0, []
    try:
        tensors, header = _whole(path)
        step, history = _progress(header)
        # Before anything is put back: without the weights that it counts on, it is worth nothing.
        best = json.loads(header["best"])
        if best is not None:
            _whole(best_file(folder, best))
        optimizer_state = _by_parameter(tensors, trained_parameters(optimizer))
    except UNREADABLE as error:
        tell(Note(f"  warning: {path} is broken ({_told(error)}); the training begins anew"))
        return 0, []
    # 1. The tensors of each part, under their names there.
    parts: dict[str, dict[str, torch.Tensor]] = {part: {} for part in modules}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part != OPTIMIZER:
            parts.setdefault(part, {})[rest] = tensor
    # 2. The modules, whose parameters stay the objects that the optimizer knows.
    for part, module in modules.items():
        restore_state(module, parts[part])
    # 3. The optimizer's state of each parameter.
    for parameter, key, tensor in optimizer_state:
        optimizer.state[parameter][key] = tensor.to(parameter.device)
    return step, history


def _told(error: Exception) -> str:
    """Why a file cannot be read, on one short line."""
    return " ".join(str(error).split())[:MOST_REASON]


def _whole(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """(tensors, what stands beside them) of a file.

    Raises Broken where they are not what was written, and UNREADABLE for what is no such file.
    """
    if not path.exists():
        raise Broken(f"{path.name} is gone")
    with safe_open(path, "pt") as file:
        header = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if header.get(DIGEST) != content_digest(tensors, header):
        raise Broken(f"the bytes of {path.name} are not those that were written")
    return tensors, header


def _progress(header: Mapping[str, str]) -> tuple[int, History]:
    """(the step to run next, the history) of a checkpoint. Raises Broken where it has none."""
    step = int(header["step"])
    history = json.loads(header["history"])
    if step < 0 or not isinstance(history, list):
        raise Broken("it has no step and no history")
    return step, history


def _by_parameter(
    tensors: Mapping[str, torch.Tensor], parameters: list[nn.Parameter]
) -> list[tuple[nn.Parameter, str, torch.Tensor]]:
    """The optimizer's state: (parameter, key, tensor). Raises Broken for a parameter of no number,
    or a tensor that is not as large as its parameter."""
    state = []
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part != OPTIMIZER:
            continue
        index, _, key = rest.partition(".")
        if not index.isdigit() or int(index) >= len(parameters):
            raise Broken(f"`{name}` is of no parameter")
        parameter = parameters[int(index)]
        # A count of steps is one number, a mean as large as what it is the mean of.
        if tensor.numel() != 1 and tensor.shape != parameter.shape:
            raise Broken(f"`{name}` is {tuple(tensor.shape)}, not {tuple(parameter.shape)}")
        state.append((parameter, key, tensor))
    return state
