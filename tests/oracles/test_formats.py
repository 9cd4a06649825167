"""Packed codes against a slow loop over digits, and the bits that each format takes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limbeck.core.grids import GRIDS, digits_per_byte
from limbeck.quantization.grids_torch import as_bytes, nearest_level, pack, unpack
from limbeck.quantization.modules.integer import decode

PACKED = {name: grid for name, grid in GRIDS.items() if grid.planes}
BITS = {
    "int8": 8,
    "int7": 8,
    "uint8": 8,
    "int4": 4,
    "int3": 3,
    "int2": 2,
    "ternary": 1.6,
    "binary": 1,
    "fp8-e4m3": 8,
    "fp8-e5m2": 8,
}
FLOATING = {
    "fp8-e4m3": (3, 7, 448),
    "fp8-e5m2": (2, 15, 57344),
}  # mantissa bits, bias, the largest (Micikevicius et al., 2022, table 1)


def slow(code: int, low: int, step: int, planes: tuple[int, ...]) -> list[int]:
    """The digit of each plane."""
    rest, found = (code - low) // step, []
    for base in planes:
        found.append(rest % base)
        rest //= base
    assert rest == 0
    return found


@pytest.mark.parametrize("name", list(PACKED))
@given(st.data())
def test_bytes_hold_the_digits_and_give_the_codes_back(name: str, data: st.DataObject) -> None:
    grid = PACKED[name]
    codes = data.draw(
        st.lists(
            st.sampled_from(range(grid.low, grid.high + 1, grid.step)), min_size=1, max_size=40
        )
    )
    packed = pack(torch.tensor(codes), grid)
    expected, digits = [], [slow(code, grid.low, grid.step, grid.planes) for code in codes]
    for plane, base in enumerate(grid.planes):
        column = [each[plane] for each in digits]
        for start in range(0, len(column), count := digits_per_byte(base)):
            expected.append(
                sum(
                    digit * base**place for place, digit in enumerate(column[start : start + count])
                )
            )
    assert packed.dtype == torch.uint8
    assert packed.tolist() == expected
    found = unpack(packed, [len(codes), 1], grid.low, grid.step, grid.planes)
    assert (found.dtype, found.flatten().tolist()) == (torch.int8, codes)


@pytest.mark.parametrize("name", list(GRIDS))
def test_every_level_has_a_code_and_a_code_its_bits(name: str) -> None:
    grid = GRIDS[name]
    levels = torch.arange(grid.low, grid.high + 1, grid.step)
    assert grid.bits == BITS[name]
    assert not grid.planes or math.prod(grid.planes) == len(levels)
    if grid.planes:
        codes = levels[torch.randint(len(levels), (64, 384))]
        assert pack(codes, grid).numel() * 8 <= 1.02 * grid.bits * codes.numel()


def meaning(byte: int, mantissa: int, bias: int) -> float:
    """The number that a float8's byte stands for: sign, exponent, mantissa; without a leading 1 where the exponent is 0."""
    sign, exponent, rest = (
        byte >> 7,
        byte >> mantissa & 2 ** (7 - mantissa) - 1,
        byte & 2**mantissa - 1,
    )
    whole = rest + (2**mantissa if exponent else 0)
    return (-1.0) ** sign * whole * 2.0 ** (max(exponent, 1) - bias - mantissa)


@pytest.mark.parametrize("name", list(FLOATING))
def test_a_float8_is_its_byte_and_every_finite_number_is_a_level(name: str) -> None:
    grid, (mantissa, bias, largest) = GRIDS[name], FLOATING[name]
    numbers = torch.tensor([meaning(byte, mantissa, bias) for byte in range(256)])
    finite = numbers.abs() <= largest
    if name == "fp8-e4m3":
        finite &= torch.tensor([byte & 0x7F != 0x7F for byte in range(256)])
    assert numbers[finite].max() == grid.high == largest
    assert torch.equal(nearest_level(numbers[finite], grid), numbers[finite])
    assert torch.equal(as_bytes(numbers[finite], grid), torch.arange(256)[finite].to(torch.uint8))
    assert torch.equal(
        decode(as_bytes(numbers[finite], grid), grid.storage),
        numbers[finite],
    )
