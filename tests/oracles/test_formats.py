"""Packed codes against a slow loop over digits, and the bits that each format takes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limbeck.quant.formats import GRIDS, digits_per_byte, pack, unpack

PACKED = {name: grid for name, grid in GRIDS.items() if grid.planes}
BITS = {"int8": 8, "int7": 8, "uint8": 8, "int4": 4, "int3": 3, "int2": 2, "ternary": 1.6, "binary": 1}


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
    codes = data.draw(st.lists(st.sampled_from(range(grid.low, grid.high + 1, grid.step)), min_size=1, max_size=40))
    packed = pack(torch.tensor(codes), grid)
    expected, digits = [], [slow(code, grid.low, grid.step, grid.planes) for code in codes]
    for plane, base in enumerate(grid.planes):
        column = [each[plane] for each in digits]
        for start in range(0, len(column), count := digits_per_byte(base)):
            expected.append(sum(digit * base**place for place, digit in enumerate(column[start : start + count])))
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
