"""Codes as the two formats of compressed-tensors hold them.

- `int-quantized`: one byte for a code, whatever its bits.
- `pack-quantized`: a row is one stream of bits, lowest bits first, in words of 32; a code of b bits
  stands there as code + 2^(b - 1), and the last word of a row is filled up with zeros.

Legend: O outputs (rows), I inputs, W = ceil(I b / 32) words.
"""

import numpy as np
from numpy.typing import NDArray

WORD_BITS = 32
BYTE_BITS = 8
# Rows at a time: every bit is a byte for a moment.
ROWS = 1024


def pack(codes: NDArray[np.int8], bits: int) -> NDArray[np.int32]:
    """(O, I) codes as (O, W) words."""
    parts = []
    for start in range(0, len(codes), ROWS):
        part = codes[start : start + ROWS]
        parts.append(_packed_rows(part, bits))
    return np.concatenate(parts)


def unpack(words: NDArray[np.int32], bits: int, width: int) -> NDArray[np.int8]:
    """(O, W) words as (O, I) codes; `width`: I."""
    parts = []
    for start in range(0, len(words), ROWS):
        part = words[start : start + ROWS]
        parts.append(_unpacked_rows(part, bits, width))
    return np.concatenate(parts)


def words_of(width: int, bits: int) -> int:
    """How many words a row of so many codes takes."""
    return -(-width * bits // WORD_BITS)


def _packed_rows(codes: NDArray[np.int8], bits: int) -> NDArray[np.int32]:
    rows, width = codes.shape
    # 1. Codes from 0 on, in 16 bits: the sum may leave 8.
    unsigned = codes.astype(np.int16) + (1 << (bits - 1))
    # 2. (O, I, b): the bits of each.
    each_bit = np.unpackbits(
        unsigned.astype(np.uint8)[:, :, None], axis=2, count=bits, bitorder="little"
    )
    # 3. (O, 32 W): one stream a row.
    stream = each_bit.reshape(rows, width * bits)
    missing = words_of(width, bits) * WORD_BITS - stream.shape[1]
    filled = np.pad(stream, ((0, 0), (0, missing)))
    content = np.packbits(filled, axis=1, bitorder="little")
    return content.view("<i4").astype(np.int32)


def _unpacked_rows(words: NDArray[np.int32], bits: int, width: int) -> NDArray[np.int8]:
    rows = len(words)
    content = np.ascontiguousarray(words, "<i4").view(np.uint8)
    stream = np.unpackbits(content, axis=1, count=width * bits, bitorder="little")
    each_bit = stream.reshape(rows, width, bits)
    # Bits above those that are stored are zeros.
    unsigned = np.packbits(each_bit, axis=2, bitorder="little")[:, :, 0]
    codes = unsigned.astype(np.int16) - (1 << (bits - 1))
    return codes.astype(np.int8)
