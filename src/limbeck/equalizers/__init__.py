"""Rewrites of a prepared model around its quantization, after training: the same function in float, and less lost on the grid.

`arrange` puts what a rewrite needs into the model, doing nothing yet, so that saved weights find their place again; `apply` changes values. One
`after_rounding` corrects what the ranges and the rounding have left.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

from torch import nn

from limbeck.quant.flow import Flow
from limbeck.quant.swap import Quantized

Forwards = Sequence[Callable[[nn.Module], Any]]


class Equalizer(Protocol):
    """One file, one rewrite."""

    after_rounding: ClassVar[bool]

    def arrange(self, model: nn.Module, flow: Flow) -> None:
        """Add modules of which the function does not depend yet; the same ones every time."""
        ...

    def apply(self, model: nn.Module, flow: Flow, forwards: Forwards) -> None:
        """Change values in place. `forwards` run the calibration rows."""
        ...


def readers(model: nn.Module, flow: Flow) -> list[dict[str, Quantized]]:
    """The quantized layers by name, those that read one tensor together, in the order in which they run."""
    groups: dict[int, dict[str, Quantized]] = {}
    for name, tensor in flow.reads.items():
        module = model.get_submodule(name)
        if isinstance(module, Quantized):
            groups.setdefault(tensor, {})[name] = module
    return list(groups.values())
