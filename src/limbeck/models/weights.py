"""A model's parameters and buffers by name: read, put back, saved as safetensors."""

from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from limbeck.core.files import write_bytes

WEIGHTS = "model.safetensors"
# Of the others torch has no least and largest number.
COMPARED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def model_state(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer, by its first name, without its gradient.

    Unlike `state_dict` it has a tied tensor once, and buffers that are not persistent too.
    """
    # `named_parameters` leaves out what it has given before.
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor.detach() for name, tensor in named}


def content_of(tensor: Tensor) -> memoryview:
    """The bytes of a tensor of any type, for a digest."""
    # As bytes: numpy has no bfloat16. A tensor without an axis cannot be viewed otherwise.
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().data


def not_finite(module: nn.Module) -> tuple[str, str] | None:
    """(the first tensor that holds a NaN or an infinity, which of them); None where all are finite.

    Of buffers a NaN alone: masks of attention hold infinities.
    """
    buffers = {name for name, _ in module.named_buffers()}
    for name, tensor in model_state(module).items():
        if tensor.dtype not in COMPARED or tensor.is_meta or not tensor.numel():
            continue
        # Either is NaN where one number is; and no copy is made, as `isfinite` makes one.
        low, high = tensor.aminmax()
        if low.isnan():
            return name, "a NaN"
        if name not in buffers and not (low.isfinite() and high.isfinite()):
            return name, "an infinity"
    return None


def restore_state(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy the tensors of `model_state` back, in place, to whatever device the module is on.

    Raises ValueError where names or shapes differ.
    """
    targets = model_state(module)
    if targets.keys() != tensors.keys():
        different = sorted(targets.keys() ^ tensors.keys())
        raise ValueError(f"these weights are of another model; they differ in {different[:5]}")
    for name, target in targets.items():
        source = tensors[name]
        # `copy_` would broadcast a smaller tensor without a word.
        if target.shape != source.shape:
            raise ValueError(
                f"`{name}` is {tuple(source.shape)} in the file "
                f"and {tuple(target.shape)} in the model"
            )
        target.copy_(source)


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write tensors by name, on any device, as safetensors: the whole file or nothing."""
    on_host = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(on_host))
