"""How weights reach the grid: which integer a weight divided by its scale becomes.

A rounding of single values is a function of steps (w / scale) and acts in training and after; its gradient is the straight-through one of
`quant.fake`. One by layer looks at all weights of a layer and at what the layer reads, after training only: what it gives already lies
on the grid, so that from then on the nearest level is the very one it chose. An embedding reads one row at a time, whose error is least at the
nearest levels: roundings by layer leave it there.

Shapes: N positions, O out, D in (channels x window); before these P parts, of a grouped convolution, or none.
"""

from typing import ClassVar, Protocol, runtime_checkable

import torch

from limbeck.core.grids import GRIDS, Grid

INTEGERS = tuple(
    name
    for name, grid in GRIDS.items()
    if grid.symmetric and grid.step == 1 and not grid.is_floating
)  # levels one step apart


@runtime_checkable
class Rounding(Protocol):
    """One file, one way, value by value."""

    def round(self, steps: torch.Tensor, grid: Grid, *, training: bool) -> torch.Tensor:
        """Levels of the grid as float32, not yet clamped to it, of steps (groups, count), or of any shape whose last axis is one group's."""
        ...


@runtime_checkable
class Limited(Protocol):
    """One that is made for some formats alone."""

    formats: ClassVar[tuple[str, ...]]


@runtime_checkable
class ScaledRounding(Rounding, Protocol):
    """One that says also what a step is."""

    def scale(self, values: torch.Tensor) -> torch.Tensor:
        """(groups), positive, for the float weights (groups, count), in place of the range's."""
        ...


@runtime_checkable
class LayerRounding(Protocol):
    """One file, one way, a whole layer at a time."""

    def solve(
        self, weight: torch.Tensor, scale: torch.Tensor, grid: Grid, inputs: torch.Tensor
    ) -> torch.Tensor:
        """Weights on the grid, (..., O, D), for weights (..., O, D) with the scales (..., O, groups) and the inputs (..., N, D) that they meet."""
        ...


def mismatch(rounding: object, weights: str) -> str | None:
    """What is wrong with rounding weights of a format so, and how to mend it; None where nothing is."""
    if not isinstance(rounding, Limited) or weights in (*rounding.formats, "float"):
        return None
    formats = " or ".join(rounding.formats)
    return f"rounds weights to {formats} alone, not to {weights}. Say `weights: {formats}`, or leave `rounding` out"
