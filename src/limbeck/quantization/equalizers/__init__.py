"""Rewrites of a prepared model around its quantization, after training: the same function in float, and less lost on the grid.

`arrange` puts what a rewrite needs into the model, doing nothing yet, so that saved weights find their place again, and raises ValueError where
it finds nothing to rewrite; `apply` changes values. A correction acts last, on what the ranges and the rounding have left.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import nn

from limbeck.models.dataflow import Flow

Forwards = Sequence[Callable[[nn.Module], Any]]


class Equalizer(Protocol):
    """One file, one rewrite."""

    def arrange(self, model: nn.Module, flow: Flow) -> None:
        """Add modules of which the function does not depend yet; the same ones every time. Raises ValueError where there is nothing to rewrite."""
        ...

    def apply(self, model: nn.Module, flow: Flow, forwards: Forwards) -> None:
        """Change values in place. `forwards` run the calibration rows."""
        ...


@runtime_checkable
class Correction(Equalizer, Protocol):
    """One file, one correction, applied after the rounding."""

    def observe(self, model: nn.Module, flow: Flow, forwards: Forwards) -> None:
        """Remember what the model answers while it is rewritten and still float."""
        ...
