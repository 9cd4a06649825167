"""Tensors of the protocol, as JSON and as the binary extension sends them.

A tensor's elements are of one datatype, in row-major order. In JSON they are a list, flat or nested
as the shape is; in binary they lie side by side, little-endian, and an element of BYTES after its
length (4 bytes).
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from limbeck.server.v2.errors import InvalidRequest, too_large

BYTES = "BYTES"
# The protocol's numbers. BF16, which it has too, is nothing that numpy or JSON know.
DTYPES = {
    "BOOL": np.dtype("?"),
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
}
DATATYPES = (*DTYPES, BYTES)


def bounds_of(dtype: np.dtype) -> tuple[float, float]:
    """The least and the largest number of a dtype, as numbers of Python: numpy's own would take
    what they are compared with into their dtype, with a warning."""
    if dtype.kind == "b":
        return False, True
    if dtype.kind == "f":
        largest = float(np.finfo(dtype).max)
        return -largest, largest
    limits = np.iinfo(dtype)
    return limits.min, limits.max


BOUNDS = {name: bounds_of(dtype) for name, dtype in DTYPES.items()}
# What an element may be in JSON, by numpy's letter of the dtype's kind, and in words.
JSON_TYPES: Mapping[str, tuple[set[type], str]] = {
    "b": ({bool}, "true or false"),
    "i": ({int}, "whole numbers"),
    "u": ({int}, "whole numbers"),
    "f": ({int, float}, "numbers"),
}
# No model here has more; numpy's own limit is 64.
MOST_DIMENSIONS = 8
LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output.

    `values`: an array of the shape, or, of BYTES, the flat list of its elements: texts where they
    came as JSON, bytes where they came as binary. `is_binary`: how it is sent.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Any
    is_binary: bool = False


def checked_shape(shape: Any, most: int, where: str) -> tuple[int, ...]:
    """A shape of JSON. Raises InvalidRequest for what is none, or has room for more than `most`."""
    if not isinstance(shape, list) or not 1 <= len(shape) <= MOST_DIMENSIONS:
        raise InvalidRequest(
            f"{where}: shape: a list of 1 to {MOST_DIMENSIONS} whole numbers is expected"
        )
    # Not `isinstance`, by which `true` is a number.
    if any(type(size) is not int or size < 1 for size in shape):
        raise InvalidRequest(f"{where}: shape: every dimension is a whole number of 1 or more")
    # Python's integers do not overflow.
    if math.prod(shape) > most:
        raise too_large(f"{where}: shape: it has room for more than {most:,} elements")
    return tuple(shape)


def from_json(data: Any, datatype: str, shape: tuple[int, ...], where: str) -> Any:
    """The values of a tensor from its `data`. Raises InvalidRequest where they are not as told."""
    flat = flattened(data, shape, where)
    # Of each element, as numpy would make numbers of true and false among them.
    kinds = set(map(type, flat))
    if datatype == BYTES:
        if kinds != {str}:
            raise InvalidRequest(f"{where}: data: BYTES holds texts in JSON")
        return flat
    dtype = DTYPES[datatype]
    expected, in_words = JSON_TYPES[dtype.kind]
    if not kinds <= expected:
        raise InvalidRequest(f"{where}: data: {datatype} holds {in_words}")
    least, largest = BOUNDS[datatype]
    # Before numpy sees them, which would wrap round, warn or make infinities of them.
    if min(flat) < least or max(flat) > largest:
        raise InvalidRequest(f"{where}: data: a number lies outside of {datatype}")
    return np.array(flat, dtype).reshape(shape)


def flattened(data: Any, shape: Sequence[int], where: str) -> list[Any]:
    """The elements of a list that is flat or nested as the shape is. Raises InvalidRequest."""
    if not isinstance(data, list):
        raise InvalidRequest(f"{where}: data: a list of the elements is expected")
    level = data
    # Which of the two forms it is, its first element says.
    if len(shape) > 1 and data and isinstance(data[0], list):
        _check_count(level, shape[0], where)
        # A level at a time, not by recursion: the depth is the sender's.
        for size in shape[1:]:
            if not all(type(each) is list and len(each) == size for each in level):
                raise InvalidRequest(
                    f"{where}: data: nested lists are expected to be as long as shape says "
                    f"({', '.join(map(str, shape))})"
                )
            level = list(chain.from_iterable(level))
        return level
    _check_count(level, math.prod(shape), where)
    return level


def _check_count(level: list[Any], count: int, where: str) -> None:
    if len(level) != count:
        raise InvalidRequest(
            f"{where}: data: {len(level):,} elements, and the shape has room for {count:,}"
        )


def from_binary(content: memoryview, datatype: str, shape: tuple[int, ...], where: str) -> Any:
    """The values of a tensor from its bytes. Raises InvalidRequest where they are not as told."""
    count = math.prod(shape)
    if datatype == BYTES:
        return bytes_elements(content, count, where)
    dtype = DTYPES[datatype]
    if len(content) != count * dtype.itemsize:
        raise InvalidRequest(
            f"{where}: binary_data_size: {len(content):,} bytes, and {datatype} of this shape has "
            f"{count * dtype.itemsize:,}"
        )
    values = np.frombuffer(content, dtype)
    if dtype.kind == "b" and values.view(np.uint8).max() > 1:
        raise InvalidRequest(f"{where}: a byte of BOOL is 0 or 1")
    # A copy: where a tensor begins in the body its numbers are not aligned, and the body goes.
    return values.reshape(shape).copy()


def bytes_elements(content: memoryview, count: int, where: str) -> list[bytes]:
    """The elements of a BYTES tensor, each of which stands after its length."""
    size = len(content)
    if count * LENGTH.size > size:
        raise InvalidRequest(
            f"{where}: {size:,} bytes are too few for {count:,} elements, each after its length "
            "of 4 bytes"
        )
    elements = []
    start = 0
    for number in range(count):
        begin = start + LENGTH.size
        # The lengths before may have left less than 4 bytes.
        end = begin + LENGTH.unpack_from(content, start)[0] if begin <= size else size + 1
        if end > size:
            raise InvalidRequest(f"{where}: element {number} runs past the end of its bytes")
        elements.append(bytes(content[begin:end]))
        start = end
    if start != size:
        raise InvalidRequest(
            f"{where}: {size - start:,} bytes are left after the {count:,} elements of its shape"
        )
    return elements


def to_binary(tensor: Tensor) -> bytes:
    """A tensor's values as the binary extension has them."""
    if tensor.datatype != BYTES:
        return np.ascontiguousarray(tensor.values, DTYPES[tensor.datatype]).tobytes()
    # Joined once: a string that grows is copied with each element.
    parts: list[bytes] = []
    for value in tensor.values:
        content = value.encode() if isinstance(value, str) else value
        parts += (LENGTH.pack(len(content)), content)
    return b"".join(parts)


def to_json(tensor: Tensor) -> Any:
    """A tensor's values as a flat list, or as what orjson writes like one."""
    # Flat, which the protocol allows and clients write: nested lists are longer by their brackets.
    if tensor.datatype != BYTES:
        return np.ascontiguousarray(tensor.values).ravel()
    return [value.decode() if isinstance(value, bytes) else value for value in tensor.values]
