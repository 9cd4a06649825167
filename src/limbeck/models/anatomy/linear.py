"""Linear layers as they lie in models: torch's, whose weight is (out, in), and GPT-2's Conv1D,
where it is (in, out)."""

from typing import Any, NamedTuple

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


def is_transposed(module: nn.Module) -> bool:
    """Whether a module is GPT-2's Conv1D, whose weight is (in, out)."""
    # By its name: whoever holds one has imported transformers, and nobody else has to.
    kind = type(module)
    return (kind.__module__, kind.__name__) == ("transformers.pytorch_utils", "Conv1D")


def linear_of(conv1d: Any) -> nn.Linear:
    """A linear layer that computes what a Conv1D does, with its bias and its weight transposed."""
    inputs, outputs = conv1d.weight.shape
    # On `meta`, so that nothing is drawn: both parameters are replaced.
    linear = nn.Linear(inputs, outputs, device="meta")
    linear.weight = nn.Parameter(conv1d.weight.detach().t().contiguous())
    linear.bias = conv1d.bias
    return linear.train(conv1d.training)
