"""Q4_0 and Q8_0 of ggml: the bytes of 32 weights, from codes and scales and back, bit for bit.

    Q8_0: fp16 scale d, 32 times int8 q:        w = d * q
    Q4_0: fp16 scale d, 16 bytes of two codes:  w = d * (q - 8); byte j holds q[j] in its low four
          bits and q[j + 16] in its high four

Legend: O outputs (rows), I inputs, G = I / 32 blocks a row.
"""

import numpy as np

from limbeck.artifact.group_codes import GROUP, GroupCodes

# The bits of a code -> the type of its blocks.
TYPES = {4: "Q4_0", 8: "Q8_0"}
BITS = {name: bits for bits, name in TYPES.items()}

SCALE_BYTES = 2
HALF = GROUP // 2
# What makes a code of four bits an unsigned one.
OFFSET = 8


def pack(weight: GroupCodes) -> np.ndarray:
    """The bytes (O, G * (2 + 4 * bits)) of a weight's blocks, row by row."""
    codes = weight.codes.reshape(-1, GROUP)
    # Little-endian on every machine, as the file has them.
    scales = weight.scales.astype("<f2")
    scale_bytes = scales.reshape(-1, 1).view(np.uint8)
    if weight.bits == 4:
        unsigned = (codes + OFFSET).astype(np.uint8)
        low = unsigned[:, :HALF]
        high = unsigned[:, HALF:]
        content = low | (high << 4)
    else:
        content = codes.view(np.uint8)
    blocks = np.concatenate([scale_bytes, content], axis=1)
    num_rows = len(weight.codes)
    return blocks.reshape(num_rows, -1)


def unpack(rows: np.ndarray, bits: int) -> GroupCodes:
    """Codes and scales of blocks (O, bytes a row), uint8."""
    block_bytes = SCALE_BYTES + GROUP * bits // 8
    blocks = rows.reshape(-1, block_bytes)
    # Copies: bytes that lie apart cannot be looked at as numbers.
    scale_bytes = np.ascontiguousarray(blocks[:, :SCALE_BYTES])
    content = np.ascontiguousarray(blocks[:, SCALE_BYTES:])
    scales = scale_bytes.view("<f2").astype(np.float16)
    if bits == 4:
        low = content & 15
        high = content >> 4
        unsigned = np.concatenate([low, high], axis=1)
        # Within -8 to 7 only once they are signed.
        codes = unsigned.astype(np.int8) - np.int8(OFFSET)
    else:
        codes = content.view(np.int8)
    num_rows = len(rows)
    return GroupCodes(
        codes=codes.reshape(num_rows, -1),
        scales=scales.reshape(num_rows, -1),
        bits=bits,
    )
