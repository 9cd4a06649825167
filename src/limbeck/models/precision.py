"""float64 where a device has it; on the host where it has not.

The widest float of Apple's GPUs (device type `mps`) is float32: for a float64 tensor there, PyTorch
raises a TypeError. What needs more digits than float32 has, and is no part of a training step, is
computed on the CPU then, and its result goes back.
"""

import torch
from torch import Tensor

# Types of devices whose widest float is float32.
WITHOUT_FLOAT64 = {"mps"}


def float64_device(device: torch.device) -> torch.device:
    """The device itself where it has float64, else the CPU."""
    return torch.device("cpu") if device.type in WITHOUT_FLOAT64 else device


def widest_dtype(device: torch.device) -> torch.dtype:
    """float64, or float32 on a device that has nothing wider: for sums that stay on the device."""
    return torch.float32 if device.type in WITHOUT_FLOAT64 else torch.float64


def in_float64(values: Tensor) -> Tensor:
    """`values` in float64, on `float64_device` of theirs.

    What is computed from the result lies on that device too; `back_like` brings it back.

    Example:
        >>> in_float64(torch.tensor([0.5]))
        tensor([0.5000], dtype=torch.float64)
    """
    # Moved before it is widened: the device cannot make the float64 tensor.
    return values.to(float64_device(values.device)).double()


def back_like(values: Tensor, original: Tensor) -> Tensor:
    """What was computed in float64, in the dtype and on the device of `original`."""
    # Narrowed before it is moved: the device cannot hold the float64 tensor.
    return values.to(original.dtype).to(original.device)
