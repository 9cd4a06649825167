"""What the grid is: the integers that a format can hold, and how they lie in bytes.

`int8` is symmetric and narrow (-127..127), so that zero is exact and -x is as exact as x. Below it every level counts, so `int4`, `int3` and
`int2` use the whole of two's complement (-8..7, -4..3, -2..1; LSQ, arXiv 1902.08153, section 2); `ternary` is -1, 0, 1. `uint8` is affine (0..255
with an integer zero point). `int7` keeps to -64..64, so that two products with uint8 fit int16, where a CPU without VNNI adds them. `binary` is -1
and 1 (XNOR-Net, arXiv 1603.05279, section 3.1): two steps apart, with zero between them and no level. `float` is no grid.

`fp8-e4m3` and `fp8-e5m2` are floating (Micikevicius et al., 2022, arXiv 2209.05433): levels are the finite numbers of a float8, dense near zero, and
their codes those numbers, stored as their byte. No kernel multiplies them here: they make a file smaller, not faster.

Packed, the steps of a code above the lowest are a number of one or more digits, a plane for each: a byte holds n digits of base b, b^n <= 256, the
first the lowest. Four bits are a digit of base 16, two a byte; three bits one of base 4 and one of base 2; a ternary code is one of base 3, five a
byte, 1.6 bits; a binary one of base 2, eight a byte. A graph unpacks them by division and Floor alone, which every runtime folds when it loads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Grid:
    """Levels from `low` to `high`; `symmetric` grids have the zero point 0. `planes`: the bases of a packed code's digits; none: a byte each.

    `step`: how far apart the levels are. Where it is 2 they are the odd integers. `dtype`: what a code is, a float8 for a floating grid.
    """

    low: int
    high: int
    symmetric: bool
    planes: tuple[int, ...] = ()
    step: int = 1
    dtype: torch.dtype = torch.int8

    @property
    def bits(self) -> float:
        """What a code takes."""
        return sum(8 / digits_per_byte(base) for base in self.planes) or 8.0

    @property
    def num_levels(self) -> int:
        """How many values a code can have; of a floating grid the integers that it spans."""
        return (self.high - self.low) // self.step + 1

    @property
    def is_floating(self) -> bool:
        """Whether the levels are those of a float8."""
        return self.dtype.is_floating_point

    def round(self, steps: torch.Tensor) -> torch.Tensor:
        """The nearest level of each value, before the ends saturate: of two integers as near the even one, of two odd ones the larger."""
        if self.is_floating:
            within = (steps >= self.low) & (
                steps <= self.high
            )  # beyond the largest, conversion gives that, infinity or NaN
            return torch.where(within, steps.to(self.dtype).to(steps.dtype), steps)
        return (
            torch.round(steps)
            if self.step == 1
            else torch.floor(steps / self.step) * self.step + self.step // 2
        )


GRIDS = {
    "int8": Grid(-127, 127, True),
    "int7": Grid(-64, 64, True),
    "uint8": Grid(0, 255, False, dtype=torch.uint8),
    "int4": Grid(-8, 7, True, (16,)),
    "int3": Grid(-4, 3, True, (4, 2)),
    "int2": Grid(-2, 1, True, (4,)),
    "ternary": Grid(-1, 1, True, (3,)),
    "binary": Grid(-1, 1, True, (2,), step=2),
    "fp8-e4m3": Grid(-448, 448, True, dtype=torch.float8_e4m3fn),
    "fp8-e5m2": Grid(-57344, 57344, True, dtype=torch.float8_e5m2),
}


def digits_per_byte(base: int) -> int:
    """The largest n with base^n <= 256."""
    return max(n for n in range(1, 9) if base**n <= 256)


def as_bytes(codes: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Codes in their shape, a byte each: int8, or uint8 for the bits of a float8."""
    return codes.contiguous().to(grid.dtype).view(torch.uint8 if grid.is_floating else grid.dtype)


def pack(codes: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Codes of a grid with planes as bytes (N), uint8: plane after plane, each filled up to whole bytes."""
    rest = ((codes.flatten() - grid.low) / grid.step).long()
    planes = []
    for base in grid.planes:
        count = digits_per_byte(base)
        digits = torch.nn.functional.pad(rest % base, (0, -len(rest) % count)).view(-1, count)
        planes.append((digits * base ** torch.arange(count)).sum(1).to(torch.uint8))
        rest = rest // base
    return torch.cat(planes)


def unpack(
    packed: torch.Tensor, shape: Sequence[int], low: int, step: int, planes: Sequence[int]
) -> torch.Tensor:
    """The codes of `pack` in their shape, int8."""
    size, start, unit = int(torch.Size(shape).numel()), 0, step
    codes = torch.full((size,), low, dtype=torch.int8)
    for base in planes:
        count = digits_per_byte(base)
        end = start + -(-size // count)
        digits = packed[start:end].long().unsqueeze(1) // base ** torch.arange(count) % base
        codes += (unit * digits.flatten()[:size]).to(torch.int8)
        start, unit = end, unit * base
    return codes.view(list(shape))
