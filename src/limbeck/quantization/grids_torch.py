"""What torch does with a grid (`core.grids`): round to its levels, and store codes in bytes."""

from collections.abc import Sequence

import torch

from limbeck.core.grids import Grid, digits_per_byte


def storage_dtype(grid: Grid) -> torch.dtype:
    """The type of a stored code: an integer's, or a float8's for a floating grid."""
    dtype: torch.dtype = getattr(torch, grid.storage)
    return dtype


def nearest_level(steps: torch.Tensor, grid: Grid) -> torch.Tensor:
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
    return torch.floor(steps / grid.step) * grid.step + grid.step // 2


def as_bytes(codes: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Codes in their shape, a byte each: int8 or uint8, and uint8 for the bits of a float8."""
    stored = codes.contiguous().to(storage_dtype(grid))
    return stored.view(torch.uint8) if grid.is_floating else stored


def pack(codes: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Codes of a grid with planes as bytes: (bytes), uint8.

    Plane follows plane, each filled up with zeros to whole bytes.
    """
    rest = ((codes.flatten() - grid.low) / grid.step).long()
    planes = []
    for base in grid.planes:
        count = digits_per_byte(base)
        padding = -len(rest) % count
        digits = torch.nn.functional.pad(rest % base, (0, padding)).view(-1, count)
        planes.append((digits * place_values(base, codes.device)).sum(1).to(torch.uint8))
        rest = rest // base
    return torch.cat(planes)


def unpack(
    packed: torch.Tensor, shape: Sequence[int], low: int, step: int, planes: Sequence[int]
) -> torch.Tensor:
    """The codes that `pack` wrote, in their shape, int8; `low`, `step`, `planes` are the grid's."""
    size = int(torch.Size(shape).numel())
    codes = torch.full((size,), low, dtype=torch.int8, device=packed.device)
    start = 0
    unit = step  # what a digit of the current plane counts for in a code
    for base in planes:
        end = start + -(-size // digits_per_byte(base))
        plane = packed[start:end].long().unsqueeze(1)
        digits = plane // place_values(base, packed.device) % base
        codes += (unit * digits.flatten()[:size]).to(torch.int8)
        start = end
        unit = unit * base
    return codes.view(list(shape))


def place_values(base: int, device: torch.device) -> torch.Tensor:
    """(digits a byte) what each digit of a byte counts for: 1, base, base^2, ..."""
    result: torch.Tensor = base ** torch.arange(digits_per_byte(base), device=device)
    return result
