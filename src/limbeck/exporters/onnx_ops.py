"""Our torch ops (`quantization.modules.integer`) in ONNX: what each becomes in a graph.

Each function is a translation for `torch.onnx.export`: it takes the values and constants of one op
and returns the value that the ops it adds to the graph compute. C: input width, O: output width.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from limbeck.core.grids import digits_per_byte

# Numbers of element types in ONNX, `TensorProto.DataType`.
FLOAT, INT8, INT32 = 1, 3, 6


def translations(dynamic_linear: Callable[..., Any]) -> dict[Any, Any]:
    """Op -> translation. `dynamic_linear`: of a linear layer whose input has no learned range."""
    ours = torch.ops.limbeck
    return {
        ours.quantize_dequantize.default: quantize_dequantize,
        ours.dequantize.default: dequantize,
        ours.unpack.default: unpack,
        ours.decode.default: decode,
        ours.dynamic_linear.default: dynamic_linear,
        ours.lstm.default: lstm,
        ours.gru.default: gru,
    }


def quantize_dequantize(x: Any, scale: Any, zero_point: Any) -> Any:
    """Activations with a learned range. The runtime fuses the pair into the products around it."""
    from onnxscript import opset20 as op

    codes = op.QuantizeLinear(x, scale, zero_point)
    return op.DequantizeLinear(codes, scale, zero_point)


def dequantize(codes: Any, scale: Any, axis: int) -> Any:
    """A weight with a scale for each index of `axis`."""
    from onnxscript import opset20 as op

    return op.DequantizeLinear(codes, scale, axis=axis)


def dynamic_quantize_linear(x: Any, codes: Any, scale: Any) -> Any:
    """A linear layer whose input is quantized by its own range.

    x (..., C) float32, codes (C, O) int8, scale (O).
    ONNX Runtime fuses the four ops into one kernel.
    """
    from onnxscript import opset20 as op

    quantized, x_scale, x_zero = op.DynamicQuantizeLinear(x)
    # The weights' zero point is left out: their grids are symmetric.
    products = op.MatMulInteger(quantized, codes, x_zero)
    floats = op.Cast(products, to=FLOAT)
    return op.Mul(floats, op.Mul(x_scale, scale))


def weight_only_linear(x: Any, codes: Any, scale: Any) -> Any:
    """The same layer for a runtime that quantizes its input by itself: x times float weights."""
    from onnxscript import opset20 as op

    # Axis 1 of the codes (C, O): a scale for each output.
    weights = op.DequantizeLinear(codes, scale, axis=1)
    return op.MatMul(x, weights)


def unpack(
    packed: Any,
    shape: Sequence[int],
    low: int,
    step: int,
    planes: Sequence[int],
) -> Any:
    """Packed codes as int8 of `shape`: code = low + step * (d0 + b0 * d1).

    A plane holds one digit of every code: d0 of base b0 in the first, d1 in the second, where there
    is one; several digits share a byte (`core.grids`). They are looked up in a table of all 256
    bytes, which is ten times as fast as dividing every byte.
    """
    from onnxscript import opset20

    op: Any = opset20  # its stubs want tensors where numbers are allowed

    def vector(*values: int) -> Any:
        return op.Constant(value_ints=values)

    def cut(tensor: Any, first: int, end: int) -> Any:
        return op.Slice(tensor, vector(first), vector(end), vector(0))

    size = math.prod(shape)
    all_bytes = _all_bytes(op)
    start = 0  # the first byte of a plane
    unit = step  # what a digit of the plane counts
    parts: list[Any] = []
    for base in planes:
        end = start + math.ceil(size / digits_per_byte(base))
        # 1. What the digits of each possible byte count.
        digits = _digits(op, all_bytes, base)
        steps = op.Mul(digits, _scalar(op, unit))
        # The lowest level is added once, with the first plane.
        offset = 0 if parts else low
        table = op.Add(steps, _scalar(op, offset))
        # 2. The bytes of this plane. Gather takes no uint8 for an index.
        plane = op.Cast(cut(packed, start, end), to=INT32)
        if len(planes) == 1:
            # The table is narrowed instead of the codes, which are many more.
            table = op.Cast(table, to=INT8)
        # 3. Look them up. The last byte may have digits to spare.
        values = op.Reshape(op.Gather(table, plane), vector(-1))
        parts.append(cut(values, 0, size))
        start = end
        unit *= base
    codes = parts[0]
    if len(parts) > 1:
        # No grid has more than two planes (`core.grids`).
        codes = op.Cast(op.Add(*parts), to=INT8)
    return op.Reshape(codes, vector(*shape))


def _scalar(op: Any, value: float) -> Any:
    """A float32 constant."""
    return op.Constant(value_float=float(value))


def _all_bytes(op: Any) -> Any:
    """(256, 1) each byte plus a half, as float32.

    The half is added before dividing, because a runtime may multiply by a rounded reciprocal
    instead: an exact quotient could then fall below its integer, and Floor would lose one.
    """
    first = _scalar(op, 0)
    end = _scalar(op, 256)
    step = _scalar(op, 1)
    counted = op.Range(first, end, step)
    halves = op.Add(counted, _scalar(op, 0.5))
    return op.Unsqueeze(halves, op.Constant(value_ints=[1]))


def _digits(op: Any, all_bytes: Any, base: int) -> Any:
    """(256, n) the digits of every byte, lowest first.

    Digit i of a byte x is floor(x / b^i) - b floor(x / b^(i + 1)).
    """
    num_digits = digits_per_byte(base)
    powers = [float(base**place) for place in range(num_digits + 1)]

    def whole_parts(divisors: list[float]) -> Any:
        quotients = op.Div(all_bytes, op.Constant(value_floats=divisors))
        return op.Floor(quotients)

    # What is left of a byte from a place on, and from the next place on.
    from_place = whole_parts(powers[:-1])
    beyond = whole_parts(powers[1:])
    return op.Sub(from_place, op.Mul(beyond, _scalar(op, base)))


def decode(stored: Any, dtype: str) -> Any:
    """Bytes of a float8 `dtype` as float32, by a table of all 256.

    A FLOAT8 initializer says the same, but no Gather of ONNX's reads one, and ONNX Runtime would
    run its DequantizeLinear anew at every call.
    """
    from onnxscript import opset20

    op: Any = opset20
    all_bytes = torch.arange(256, dtype=torch.uint8)
    numbers = all_bytes.view(getattr(torch, dtype)).float()
    # No code is a NaN or infinite; the table needs some number in their places.
    finite = numbers.nan_to_num(0, 0, 0)
    table = op.Constant(value_floats=finite.tolist())
    return op.Gather(table, op.Cast(stored, to=INT32))


def lstm(
    x: Any,
    state: Sequence[Any],
    weights: Sequence[Any],
    form: Sequence[int],
) -> Any:
    """An LSTM node for each layer, as torch translates its own op."""
    from onnxscript.function_libs.torch_lib.ops.core import aten_lstm

    return aten_lstm(x, state, weights, *_recurrent_arguments(form))


def gru(
    x: Any,
    state: Sequence[Any],
    weights: Sequence[Any],
    form: Sequence[int],
) -> Any:
    """A GRU node for each layer. It has one state where an LSTM has two."""
    from onnxscript.function_libs.torch_lib.ops.core import aten_gru

    return aten_gru(x, state[0], weights, *_recurrent_arguments(form))


def _recurrent_arguments(form: Sequence[int]) -> tuple[bool, int, float, bool, bool, bool]:
    """bias, layers, dropout, training, both ways, rows first: the order of torch's op."""
    bias, layers, both_ways, rows_first = form
    dropout = 0.0  # a graph answers, it does not train
    is_training = False
    # Our op carries all four as integers, in one list.
    return bool(bias), layers, dropout, is_training, bool(both_ways), bool(rows_first)
