"""How weights reach the grid: which integer a weight divided by its scale becomes.

A rounding of single values is a function of steps (w / scale) and acts in training and after; its gradient is the straight-through one of
`quant.fake`. One by layer looks at all weights of a layer and at what the layer reads, after training only: what it gives already lies
on the grid, so that from then on the nearest level is the very one it chose.

Shapes: N positions, O out, D in (of a convolution's group: channels x window).
"""

from typing import Protocol, runtime_checkable

import torch

from limbeck.quant.formats import Grid


@runtime_checkable
class Rounding(Protocol):
    """One file, one way, value by value."""

    def round(self, steps: torch.Tensor, *, training: bool) -> torch.Tensor:
        """Integers as float32, not yet clamped to the grid, of steps (groups, count), or of any shape whose last axis is one group's."""
        ...


@runtime_checkable
class LayerRounding(Protocol):
    """One file, one way, a whole layer at a time."""

    def solve(self, weight: torch.Tensor, scale: torch.Tensor, grid: Grid, inputs: torch.Tensor) -> torch.Tensor:
        """Weights on the grid, (O, D), for weights (O, D) with the scales (O, groups) and the inputs (N, D) that they meet."""
        ...
