"""The arithmetic of quantized layers in numpy and whole numbers: uint8 codes times int8 codes, summed in int32, the zero point's share taken off, then
rescaled in float64. Nothing here is shared with the engine: formats are written out anew."""

from typing import Any

import ml_dtypes
import numpy as np

Array = np.ndarray[Any, Any]

LEVELS = {
    "int8": range(-127, 128), "int7": range(-64, 65), "int4": range(-8, 8), "int3": range(-4, 4), "int2": range(-2, 2),
    "ternary": range(-1, 2), "binary": range(-1, 2, 2),
}  # fmt: skip
FLOATS: dict[str, Any] = {"fp8-e4m3": ml_dtypes.float8_e4m3fn, "fp8-e5m2": ml_dtypes.float8_e5m2}


def weight_codes(weight: Array, scale: Array, name: str) -> Array:
    """(groups, count): int32, or the float64 values of a float8; `scale` (groups), float32 as the engine learned it."""
    steps = weight.reshape(len(scale), -1) / scale[:, None].astype(np.float32)
    if name in FLOATS:
        largest = float(ml_dtypes.finfo(FLOATS[name]).max)
        return np.clip(steps, -largest, largest).astype(FLOATS[name]).astype(np.float64)
    levels = LEVELS[name]
    nearest = np.where(steps >= 0, 1, -1) if name == "binary" else np.round(steps)
    return np.clip(nearest, levels[0], levels[-1]).astype(np.int32)


def dequantized(weight: Array, scale: Array, name: str) -> Array:
    """float64, in the weight's shape."""
    return (weight_codes(weight, scale, name) * scale[:, None].astype(np.float64)).reshape(
        weight.shape
    )


def input_codes(x: Array, scale: Any, zero: int) -> Array:
    """int32 in 0..255."""
    return np.clip(np.round(x / np.float32(scale)) + zero, 0, 255).astype(np.int32)


def own_range(x: Array) -> tuple[np.float32, int]:
    """(scale, zero) of ONNX DynamicQuantizeLinear."""
    low, high = min(np.float32(x.min()), np.float32(0)), max(np.float32(x.max()), np.float32(0))
    scale = np.float32((high - low) / np.float32(255))
    return scale, int(np.round(-low / scale))


def matrix_product(codes: Array, zero: int, weight: Array) -> Array:
    """int32 (rows, O) of `codes` (rows, D) less their zero point, and int32 `weight` (O, D)."""
    total = np.zeros((len(codes), len(weight)), np.int32)
    for place in range(weight.shape[1]):
        total += codes[:, place, None] * weight[None, :, place]
    return total - np.int32(zero) * weight.sum(1, dtype=np.int32)


def linear(
    x: Array, step: tuple[Any, int], weight: Array, scale: Array, name: str, bias: Array
) -> Array:
    """(..., O) with the input quantized by `step`, its scale and zero point."""
    accumulated = matrix_product(
        input_codes(x.reshape(-1, x.shape[-1]), *step), step[1], weight_codes(weight, scale, name)
    )
    return (accumulated * (np.float64(step[0]) * scale.astype(np.float64)) + bias).reshape(
        *x.shape[:-1], len(weight)
    )


def patches(x: Array, side: int) -> Array:
    """(rows, C side side): every window of images (B, C, H, W), without padding, row by row; (rows, C side) of sequences (B, C, T)."""
    if x.ndim == 3:
        return (
            np.lib.stride_tricks.sliding_window_view(x, side, axis=2)
            .transpose(0, 2, 1, 3)
            .reshape(-1, x.shape[1] * side)
        )
    windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(2, 3))
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, x.shape[1] * side * side)


def convolution(
    x: Array, step: tuple[Any, int], weight: Array, scale: Array, name: str, bias: Array
) -> Array:
    """(B, O, H', W') or (B, O, T') with the bias on the grid of the accumulator."""
    side = weight.shape[-1]
    accumulated = matrix_product(
        input_codes(patches(x, side), *step), step[1], weight_codes(weight, scale, name)
    )
    unit = (np.float32(step[0]) * scale).astype(np.float64)
    accumulated += np.round(bias / unit).astype(np.int32)
    return images(accumulated * unit, x, side)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def recurrence(x: Array, kind: str, read: Array, fed: Array, bias: tuple[Array, Array]) -> Array:
    """(B, T, H) of x (B, T, D) by an LSTM or GRU of one layer, float64; `read` (gates H, D) and `fed` (gates H, H) as torch orders their gates."""
    hidden = cell = np.zeros((len(x), fed.shape[1]))
    out = []
    for step in x.astype(np.float64).swapaxes(0, 1):
        one = np.split(step @ read.T + bias[0], 4 if kind == "lstm" else 3, axis=1)
        other = np.split(hidden @ fed.T + bias[1], len(one), axis=1)
        if kind == "lstm":
            enter, forget, new, leave = (a + b for a, b in zip(one, other, strict=True))
            cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
            hidden = sigmoid(leave) * np.tanh(cell)
        else:
            keep = sigmoid(one[1] + other[1])
            hidden = (1 - keep) * np.tanh(
                one[2] + sigmoid(one[0] + other[0]) * other[2]
            ) + keep * hidden
        out.append(hidden)
    return np.stack(out, 1)


def images(rows: Array, x: Array, side: int) -> Array:
    """(B, O, H', W') or (B, O, T') of what was computed for each of `patches`."""
    return np.moveaxis(rows.reshape(len(x), *(size - side + 1 for size in x.shape[2:]), -1), -1, 1)
