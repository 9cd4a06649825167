"""Grids: the values that a format of weights or activations can hold, and how codes lie in bytes.

A grid is plain data, without torch; rounding to one and packing are in `quantization.grids_torch`.

- `int8` is symmetric and narrow (-127..127), so that zero is exact and -x as exact as x.
- `int7` keeps to -64..64, so that the sum of two products with uint8 fits int16. A CPU without
  VNNI adds them there.
- `int4`, `int3` and `int2` use the whole of two's complement (-8..7, -4..3, -2..1; LSQ,
  arXiv 1902.08153, section 2): below int8 every level counts.
- `ternary` is -1, 0, 1.
- `binary` is -1 and 1 (XNOR-Net, arXiv 1603.05279, section 3.1): two steps apart, and zero, which
  lies between them, is no level.
- `uint8` is affine: 0..255 with an integer zero point.
- `fp8-e4m3` and `fp8-e5m2` are floating (Micikevicius et al., 2022, arXiv 2209.05433): the levels
  are the finite numbers of a float8, dense near zero, and the code of a level is its byte. No
  kernel multiplies them here: they make a file smaller, not faster.
- The format `float` has no grid.

**Packing.** Codes of fewer than 8 bits share bytes. The number of steps by which a code lies above
the lowest level is written with one or more digits; the digits of one place of all codes are a
plane. A byte holds n digits of base b, with the largest n for which b^n <= 256; the first digit is
the lowest. Four bits are one digit of base 16, two of them a byte; three bits are one digit of
base 4 and one of base 2; a ternary code is one of base 3, five a byte (1.6 bits a code); a binary
code is one of base 2, eight a byte. A graph unpacks such bytes by division and Floor alone, which
every runtime computes once, when it loads the graph.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """The levels of a format.

    `low`, `high`: the lowest and the highest level, in steps of the scale.
    `symmetric`: whether the zero point is 0.
    `planes`: the base of each digit of a packed code, lowest first; empty where a code takes a
    whole byte.
    `step`: how far apart the levels are; with 2 they are the odd integers from `low` to `high`.
    `storage`: the type of a stored code, by the name that numpy, ml_dtypes and torch share:
    "int8", "uint8", "float8_e4m3fn" or "float8_e5m2".
    """

    low: int
    high: int
    symmetric: bool
    planes: tuple[int, ...] = ()
    step: int = 1
    storage: str = "int8"

    @property
    def bits(self) -> float:
        """The bits that a stored code takes, not always whole: 1.6 for `ternary`."""
        return sum(8 / digits_per_byte(base) for base in self.planes) or 8.0

    @property
    def num_levels(self) -> int:
        """How many values a code can have; for a floating grid, how many integers it spans."""
        return (self.high - self.low) // self.step + 1

    @property
    def is_floating(self) -> bool:
        """Whether the levels are the numbers of a float8."""
        return self.storage.startswith("float8")


GRIDS = {
    # -128 would have no counterpart.
    "int8": Grid(-127, 127, symmetric=True),
    "int7": Grid(-64, 64, symmetric=True),
    "uint8": Grid(0, 255, symmetric=False, storage="uint8"),
    # These three use every code, so that 0 is not in the middle.
    "int4": Grid(-8, 7, symmetric=True, planes=(16,)),
    "int3": Grid(-4, 3, symmetric=True, planes=(4, 2)),
    "int2": Grid(-2, 1, symmetric=True, planes=(4,)),
    "ternary": Grid(-1, 1, symmetric=True, planes=(3,)),
    "binary": Grid(-1, 1, symmetric=True, planes=(2,), step=2),
    # The largest finite numbers are those of table 1 of arXiv 2209.05433.
    "fp8-e4m3": Grid(-448, 448, symmetric=True, storage="float8_e4m3fn"),
    "fp8-e5m2": Grid(-57344, 57344, symmetric=True, storage="float8_e5m2"),
}


def digits_per_byte(base: int) -> int:
    """How many digits of `base` (2 to 256) a byte holds: the largest n with base^n <= 256."""
    return max(n for n in range(1, 9) if base**n <= 256)
