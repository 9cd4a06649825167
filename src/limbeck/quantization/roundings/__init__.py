"""How weights reach the grid: which integer a weight divided by its scale becomes.

There are two kinds. A rounding of single values (`Rounding`) is a function of steps, weight over
scale. It acts in training and after it, with the straight-through gradient of
`quantization.modules.fake`.

A rounding by layer (`LayerRounding`) looks at all weights of a layer and at what the layer reads,
after training only. What it gives lies on the grid already, so that from then on the nearest level
is the very one it chose. An embedding reads one row at a time, whose error is least at the nearest
levels: roundings by layer leave it there.

Shapes: N positions, O outputs, D inputs of a layer (of a convolution channels x window). Axes
before them are parts of a grouped convolution, or none.
"""

from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor

from limbeck.core import registry
from limbeck.core.contract import place, wrong_return
from limbeck.core.grids import GRIDS, Grid
from limbeck.quantization.grids_torch import nearest_level


def _has_whole_steps(grid: Grid) -> bool:
    """Whether the levels of weights on a grid are neighbouring integers."""
    return grid.symmetric and grid.step == 1 and not grid.is_floating


# The share by which a level may change that is multiplied by a scale and divided again, in float32:
# 1e-7 of it, or what bfloat16 is not asked to keep.
LAST_BITS = 1e-4

# The formats whose levels are one step apart: those a rounding up or down makes sense for.
INTEGERS = tuple(name for name, grid in GRIDS.items() if _has_whole_steps(grid))


@runtime_checkable
class Rounding(Protocol):
    """One file, one way, value by value."""

    def round(
        self,
        steps: Tensor,
        grid: Grid,
        *,
        training: bool,
    ) -> Tensor:
        """The level of each value.

        Args:
            steps: values over their scale, of any shape whose last axis lies within one group.
            grid: whose levels are meant.
            training: whether a training step asks; else the codes that are kept.

        Returns:
            Levels of the grid as float32, in the shape of `steps`, not yet clamped to its ends.
        """
        ...


@runtime_checkable
class Limited(Protocol):
    """What a rounding adds that is made for some formats alone: their names."""

    formats: ClassVar[tuple[str, ...]]


@runtime_checkable
class ScaledRounding(Rounding, Protocol):
    """A rounding that also says what a step is."""

    def scale(self, values: Tensor) -> Tensor:
        """The scale of each group, (groups), above 0, of float weights (groups, count).

        It takes the place of the range's.
        """
        ...


@runtime_checkable
class LayerRounding(Protocol):
    """One file, one way, a whole layer at a time."""

    def solve(
        self,
        weight: Tensor,
        scale: Tensor,
        grid: Grid,
        inputs: Tensor,
    ) -> Tensor:
        """The layer's weights on the grid.

        Args:
            weight: (..., O, D) in float32; it is left as it is.
            scale: (..., O, groups) of as many neighbouring columns each.
            grid: the grid of the weights.
            inputs: (..., N, D) what meets the weights.

        Returns:
            (..., O, D), each a level of the grid times its scale.
        """
        ...


def told(rounding: object) -> str:
    """What messages call a rounding: its name in a recipe."""
    return f"the rounding `{registry.name_of('roundings', type(rounding))}`"


def _place(rounding: object, method: str) -> str:
    """Where the method of a rounding is written."""
    return place(getattr(rounding, method))


def levels_of(rounding: Rounding, steps: Tensor, grid: Grid, *, training: bool) -> Tensor:
    """The level of each value, not yet clamped to the ends of the grid.

    Raises ValueError where a rounding, perhaps somebody else's, gave no value for each.
    """
    # What is somebody else's may write into what it is given, and gradients are made of that too.
    given = steps if registry.is_ours(rounding) else steps.clone()
    levels = rounding.round(given, grid, training=training)
    check_rounded(rounding, "round", levels, steps)
    return levels


def check_rounded(
    rounding: object,
    method: str,
    rounded: Any,
    values: Tensor,
) -> None:
    """Raise ValueError where a rounding, perhaps somebody else's, gave no value for each.

    Nothing waits for the device: what the values are is asked by `check_finite` and `check_levels`.
    """
    is_tensor = isinstance(rounded, Tensor) and rounded.dtype == values.dtype
    if not is_tensor or rounded.shape != values.shape:
        expected = f"floats of shape {tuple(values.shape)} and {values.dtype}"
        raise wrong_return(told(rounding), method, rounded, expected, getattr(rounding, method))


def check_finite(rounding: object, method: str, rounded: Tensor) -> None:
    """Raise ValueError where a rounding gave values that are not finite; the host waits for it."""
    if not bool(rounded.isfinite().all()):
        raise ValueError(
            f"{told(rounding)} gave values from `{method}`{_place(rounding, method)} that are not "
            "finite, for weights that are"
        )


def check_levels(
    rounding: object,
    method: str,
    levels: Tensor,
    grid: Grid,
    *,
    tolerance: float = 0.0,
) -> None:
    """Raise ValueError where a rounding gave values between the levels; the host waits for it.

    `tolerance`: how far from a level a value may be that was multiplied by a scale, as a share.
    """
    check_finite(rounding, method, levels)
    within = levels.clamp(grid.low, grid.high)
    off = (within - nearest_level(within, grid)).abs()
    is_between = off > tolerance * (1 + within.abs())
    if bool(is_between.any()):
        found = float(within[is_between][0])
        apart = "float8 numbers" if grid.is_floating else f"integers {grid.step} apart"
        raise ValueError(
            f"{told(rounding)} gave {found:g} from `{method}`{_place(rounding, method)}, which is "
            f"no level of the grid ({grid.low} to {grid.high}, {apart}). Every value must be one: "
            "`quantization.grids_torch.nearest_level(steps, grid)` gives the nearest"
        )


def mismatch(rounding: object, weights: str) -> str | None:
    """Why a rounding cannot make weights of the format `weights`, and the cure; None if it can."""
    if not isinstance(rounding, Limited) or weights in (*rounding.formats, "float"):
        return None
    formats = " or ".join(rounding.formats)
    return (
        f"rounds weights to {formats} alone, not to {weights}. "
        f"Say `weights: {formats}`, or leave `rounding` out"
    )
