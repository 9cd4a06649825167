"""Rewrites of a prepared model around its quantization, after training.

The function in float stays what it was, and less of it is lost on the grid. A rewrite acts in two
steps. `arrange` puts the modules that it needs into the model, where they do nothing yet, so that
saved weights find their place again. `apply` changes values, by what the calibration rows show. A
correction acts last, on what the ranges and the rounding have left.

Shapes: N rows and positions, D inputs of a layer, O outputs.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import nn

from limbeck.models.anatomy.dataflow import Flow

# Each runs some of the calibration rows.
Forwards = Sequence[Callable[[nn.Module], Any]]


class Equalizer(Protocol):
    """One file, one rewrite."""

    def arrange(self, model: nn.Module, flow: Flow) -> None:
        """Add modules that do nothing yet; the same ones every time.

        `flow`: which module reads and makes which tensor. Raises ValueError where the model has
        nothing to rewrite.
        """
        ...

    def apply(
        self,
        model: nn.Module,
        flow: Flow,
        forwards: Forwards,
    ) -> None:
        """Change values in place."""
        ...


@runtime_checkable
class Correction(Equalizer, Protocol):
    """One file, one correction, applied after the rounding."""

    def observe(
        self,
        model: nn.Module,
        flow: Flow,
        forwards: Forwards,
    ) -> None:
        """Remember what the model answers while it is rewritten and still float."""
        ...
