"""What torch does with a grid (`core.grids`): round to its levels, and store codes in bytes."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from limbeck.core.grids import Grid, digits_per_byte


def storage_dtype(grid: Grid) -> torch.dtype:
    """The type of a stored code: an integer's, or a float8's for a floating grid."""
    dtype: torch.dtype = getattr(torch, grid.storage)
    return dtype


def nearest_level(steps: Tensor, grid: Grid) -> Tensor:
    """The nearest level of each of `steps` (values over their scale), not yet clamped to the grid.

    Of two integers as near it is the even one, of two odd integers (`step` 2) the larger.
    """
    if grid.is_floating:
        # Beyond its largest number a conversion to float8 gives that number, infinity or NaN,
        # depending on the type: such values stay as they are and are clamped later.
        is_within = (steps >= grid.low) & (steps <= grid.high)
        levels = steps.to(storage_dtype(grid)).to(steps.dtype)
        return torch.where(is_within, levels, steps)
    if grid.step == 1:
        return torch.round(steps)
    # With `step` 2 the level 2k + 1 is the nearest one in [2k, 2k + 2).
    cell = torch.floor(steps / grid.step)
    return cell * grid.step + grid.step // 2


def as_bytes(codes: Tensor, grid: Grid) -> Tensor:
    """Codes in their shape, a byte each: int8 or uint8, and uint8 for the bits of a float8."""
    stored = codes.contiguous().to(storage_dtype(grid))
    # Files and runtimes know bytes better than float8.
    return stored.view(torch.uint8) if grid.is_floating else stored


def pack(codes: Tensor, grid: Grid) -> Tensor:
    """Codes of a grid with planes as bytes: (bytes), uint8.

    Plane follows plane, each filled up with zeros to whole bytes.
    """
    steps_above_lowest = (codes.flatten() - grid.low) / grid.step
    rest = steps_above_lowest.long()
    planes = []
    for base in grid.planes:
        # 1. The digits of this plane, a byte's in a row.
        count = digits_per_byte(base)
        padding = -len(rest) % count
        digits = functional.pad(rest % base, (0, padding))
        # 2. A byte is their sum by place value.
        values = place_values(base, codes.device)
        by_byte = digits.view(-1, count) * values
        planes.append(by_byte.sum(1).to(torch.uint8))
        # 3. The digits of the next places.
        rest = rest // base
    return torch.cat(planes)


def unpack(
    packed: Tensor,
    shape: Sequence[int],
    low: int,
    step: int,
    planes: Sequence[int],
) -> Tensor:
    """The codes that `pack` wrote, in their shape, int8; `low`, `step`, `planes` are the grid's."""
    size = int(torch.Size(shape).numel())
    codes = torch.full((size,), low, dtype=torch.int8, device=packed.device)
    start = 0
    # What a digit of the current plane counts for in a code.
    unit = step
    for base in planes:
        num_bytes = -(-size // digits_per_byte(base))
        plane = packed[start : start + num_bytes]
        values = place_values(base, packed.device)
        digits = plane.long().unsqueeze(1) // values % base
        # What fills up the last byte is cut off.
        in_codes = unit * digits.flatten()[:size]
        codes += in_codes.to(torch.int8)
        start += num_bytes
        unit *= base
    return codes.view(list(shape))


def place_values(base: int, device: torch.device) -> Tensor:
    """(digits a byte) what each digit of a byte counts for: 1, base, base^2, ..."""
    places = torch.arange(digits_per_byte(base), device=device)
    values: Tensor = base**places
    return values
