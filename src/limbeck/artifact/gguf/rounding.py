"""How llama.cpp on a CPU rounds what it multiplies weights of a type with.

It does not multiply floats with the integers of a weight: each row of activations becomes integers
as well, by blocks, and products of integers are added up. Of each block of 32 (`Q8_0`):

    d = max |x| / 127,  q = round(x / d),  x^ = fp16(d) * q

and of 256 (`Q8_K`) alike, but d = max |x| / -127 with the sign of that number, and float32. The
sources are ggml-cpu's `type_traits_cpu` and `quantize_row_*`.
"""

import numpy as np

BLOCK = 32
SUPERBLOCK = 256
LEVELS = 127
# Types of weights -> what activations are rounded to; others, float32 among them, take them whole.
IN_HALVES = ("F16",)
IN_BLOCKS = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "MXFP4")
IN_SUPERBLOCKS = (
    *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS", "TQ1_0", "TQ2_0"),
    *("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"),
)


def rounded(x: np.ndarray, weight_type: str, scale: type[np.floating] = np.float16) -> np.ndarray:
    """Activations (..., I), float32, as a product with weights of that type takes them.

    scale: the type of the scales of blocks of 32. llama.cpp's are fp16; what a model was trained
        with (`activations: int8-dynamic`) are float32.
    """
    if weight_type in IN_HALVES:
        return x.astype(np.float16).astype(np.float32)
    if weight_type == "BF16":
        return _to_bfloat16(x)
    if weight_type in IN_BLOCKS:
        return _in_blocks(x, BLOCK, scale)
    if weight_type in IN_SUPERBLOCKS:
        return _in_blocks(x, SUPERBLOCK, np.float32)
    return x


def _in_blocks(x: np.ndarray, size: int, kind: type[np.floating]) -> np.ndarray:
    """Activations as integers of so many at a time, with a scale of that type."""
    blocks = x.reshape(-1, size)
    largest = np.abs(blocks).max(axis=1, keepdims=True)
    scales = largest / np.float32(LEVELS)
    # The scale divides before it is rounded, as llama.cpp has it; a block of zeros stays one.
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales > 0)
    codes = np.rint(blocks * inverse)
    kept = scales.astype(kind).astype(np.float32)
    values = codes * kept
    return values.reshape(x.shape)


def _to_bfloat16(x: np.ndarray) -> np.ndarray:
    """Rounded to bfloat16, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    # Half a step less one, and the last bit that is kept: a tie goes up where that bit is set.
    even = (bits >> 16) & 1
    nearest = bits + 0x7FFF + even
    upper = nearest & 0xFFFF0000
    return upper.astype(np.uint32).view(np.float32)
