"""Weights as integers in groups of 32 along the input: what GGUF, ONNX Runtime, OpenVINO and
compressed-tensors all take as it is.

    weight[o, i] = codes[o, i] * scales[o, i // 32]

Scales are fp16 numbers and there is no zero point. Legend: O outputs (rows), I inputs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Weights that share a scale: the block of ggml's Q4_0 and Q8_0.
GROUP = 32
# Bits -> the lowest and the highest code.
RANGES = {4: (-8, 7), 8: (-128, 127)}


@dataclass(frozen=True)
class GroupCodes:
    """One weight as integers.

    codes: (O, I) int8, whole numbers from -2^(bits - 1) (at 8 bits from -127) to
        2^(bits - 1) - 1.
    scales: (O, I / group) float16; below 0 where the largest weight of a group is positive.
    bits: 8, 4, 3 or 2; 2 also of three levels. GGUF, as it is written here, has blocks of 8 and 4.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float16]
    bits: int

    @property
    def group(self) -> int:
        """How many neighbouring weights share a scale."""
        return self.codes.shape[1] // self.scales.shape[1]

    def values(self) -> NDArray[np.float32]:
        """(O, I) the weight that the integers stand for. Exact: the product of an fp16 number and a
        code has at most 19 significant bits."""
        scales = self.scales.astype(np.float32).repeat(self.group, axis=1)
        return self.codes.astype(np.float32) * scales


def check(weight: GroupCodes, name: str) -> None:
    """Raise ValueError, which names the weight, for codes and scales that do not fit together."""
    codes = weight.codes
    scales = weight.scales
    bits = weight.bits
    if bits not in RANGES:
        raise ValueError(f"{name}: codes of {bits} bits. Blocks of 4 and of 8 bits can be written")
    if codes.ndim != 2 or codes.shape[1] % GROUP:
        raise ValueError(
            f"{name}: its shape is {codes.shape}, and blocks take {GROUP} inputs at a time. "
            f"Choose a width that is a multiple of {GROUP}"
        )
    # Scales by row and group; anything else would be written as another matrix.
    groups = (codes.shape[0], codes.shape[1] // GROUP)
    if scales.shape != groups or scales.dtype != np.float16 or codes.dtype != np.int8:
        raise ValueError(
            f"{name}: scales {scales.shape} of {scales.dtype} for codes {codes.shape} of "
            f"{codes.dtype}; {groups} of float16 and int8 are expected"
        )
    if not np.isfinite(scales).all():
        raise ValueError(f"{name}: a scale is not finite")
    # Four bits would keep the low half of a larger code, and say nothing.
    low, high = RANGES[bits]
    if codes.size and (codes.min() < low or codes.max() > high):
        raise ValueError(f"{name}: a code of {bits} bits lies outside {low} to {high}")
