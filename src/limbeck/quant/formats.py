"""What the grid is: the integers that a format can hold. `int8` is symmetric and narrow (-127..127), so that zero is exact and -x is as exact as x;
`uint8` is affine (0..255 with an integer zero point); `float` is no grid."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """Integers `low`..`high`; `symmetric` grids have the zero point 0."""

    low: int
    high: int
    symmetric: bool


GRIDS = {"int8": Grid(-127, 127, True), "uint8": Grid(0, 255, False)}
