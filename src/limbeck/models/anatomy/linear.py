"""Linear layers as they lie in models: torch's, whose weight is (out, in), and GPT-2's Conv1D,
where it is (in, out)."""

from typing import NamedTuple

from torch import nn


class Axes(NamedTuple):
    """Which axis of a linear layer's weight counts its outputs, and which its inputs."""

    outputs: int
    inputs: int


def axes_of(module: nn.Module) -> Axes | None:
    """The axes of a linear layer's weight; None for a module of another kind."""
    if isinstance(module, nn.Linear):
        return Axes(outputs=0, inputs=1)
    # Imported here: networks of ours do without transformers, whose import takes seconds.
    from transformers.pytorch_utils import Conv1D

    return Axes(outputs=1, inputs=0) if isinstance(module, Conv1D) else None


def num_inputs(module: nn.Module) -> int:
    """How many values a linear layer reads. Raises AssertionError for a module of another kind."""
    axes = axes_of(module)
    assert axes is not None
    return module.get_parameter("weight").shape[axes.inputs]
