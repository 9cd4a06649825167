"""One ONNX graph for ONNX Runtime (and, where activations are static, for OpenVINO too), written from the learned scales.

The converted model (`quant.integer`) is exported once by torch.export; its ops become QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear and
MatMulInteger with the very codes and scales that were trained: nothing is recomputed and no float copy of a quantized weight is left. Codes of fewer
than 8 bits lie packed in the file; the graph unpacks them with ops on constants, which a runtime folds when it loads, and computes with int8. A
float8 lies there as its byte, and the graph computes with floats.
The graph is then optimized by ONNX Runtime and its ops are counted: a quantized matrix product or convolution that did not fuse to an integer
kernel fails the export.
"""

import logging
import math
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from limbeck.core.grids import digits_per_byte
from limbeck.models.attention import Products
from limbeck.quantization.integer import IntegerConvolution, IntegerLinear

OPSET = 20
INTEGER_KERNELS = (
    "MatMulIntegerToFloat",
    "QLinearConv",
    "QLinearMatMul",
    "QGemm",
    "DynamicQuantizeMatMul",
    "MatMulInteger",
)


class Onnx:
    """No keys."""

    runtime: ClassVar[str] = "onnxruntime"
    file: ClassVar[str] = "model.onnx"

    def export(self, model: nn.Module, inputs: dict[str, torch.Tensor], folder: Path) -> str:
        """Write the graph of a converted model; the file's name. Raises ValueError where integer kernels are missing."""
        to_onnx(model, inputs, folder / self.file, dynamic_translation=dynamic_quantize_linear)
        check_kernels(model, folder / self.file)
        return self.file

    def open(self, path: Path, threads: int) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
        """Run the graph in ONNX Runtime."""
        from limbeck.artifact.load import open_onnxruntime

        return open_onnxruntime(path, threads)


class _Forward(nn.Module):
    """A model as a function from its inputs, by position, to logits."""

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        result = self.model(**dict(zip(self.names, inputs, strict=True)))
        return result if isinstance(result, torch.Tensor) else result.logits


def to_onnx(
    model: nn.Module,
    inputs: dict[str, torch.Tensor],
    path: Path,
    *,
    dynamic_translation: Callable[..., Any],
) -> None:
    """Export with free batch and length. `inputs`: an example of two rows or more, each tensor an object of its own."""
    from onnxscript.optimizer import optimize_ir

    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens")
    shapes = tuple(
        {0: batch, 1: tokens} if value.ndim == 2 else {0: batch} for value in inputs.values()
    )
    table: dict[Any, Any] = {
        torch.ops.limbeck.quantize_dequantize.default: quantize_dequantize,
        torch.ops.limbeck.dequantize.default: dequantize,
        torch.ops.limbeck.unpack.default: unpack,
        torch.ops.limbeck.decode.default: decode,
        torch.ops.limbeck.dynamic_linear.default: dynamic_translation,
        torch.ops.limbeck.lstm.default: lstm,
        torch.ops.limbeck.gru.default: gru,
    }
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells that torchvision is absent
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            _Forward(model, list(inputs)).eval(),
            tuple(value.clone() for value in inputs.values()),
            dynamo=True,
            dynamic_shapes=(shapes,),
            input_names=list(inputs),
            output_names=["logits"],
            opset_version=OPSET,
            custom_translation_table=table,
            external_data=False,
            verbose=False,
            optimize=False,
        )
    assert program is not None
    optimize_ir(program.model, should_fold=stays_packed)
    program.save(str(path))
    strip(path)


def stays_packed(node: Any) -> bool | None:
    """False for what reads codes, and for what all 256 bytes are unpacked from, so that the file keeps them and nothing wider. None elsewhere:
    constants are folded as by default."""
    reads_codes = (
        node.inputs and node.inputs[0] is not None and str(node.inputs[0].name).endswith("stored")
    )
    return False if reads_codes or node.op_type == "Range" else None


def strip(path: Path) -> None:
    """Remove what tells of this machine and this run: documentation strings and metadata of the exporter."""
    import onnx

    proto = onnx.load(str(path))
    proto.producer_name, proto.producer_version, proto.doc_string = "limbeck", "", ""
    proto.graph.doc_string = ""
    del proto.metadata_props[:]
    for holder in (
        *proto.graph.node,
        *proto.graph.input,
        *proto.graph.output,
        *proto.graph.value_info,
        *proto.graph.initializer,
        proto.graph,
    ):
        del holder.metadata_props[:]
    for node in proto.graph.node:
        node.doc_string = ""
    path.write_bytes(proto.SerializeToString(deterministic=True))


def quantize_dequantize(x: Any, scale: Any, zero_point: Any) -> Any:
    """The static quantizer of a tensor."""
    from onnxscript import opset20 as op

    return op.DequantizeLinear(op.QuantizeLinear(x, scale, zero_point), scale, zero_point)


def dequantize(codes: Any, scale: Any, axis: int) -> Any:
    """A weight."""
    from onnxscript import opset20 as op

    return op.DequantizeLinear(codes, scale, axis=axis)


def unpack(packed: Any, shape: Sequence[int], low: int, step: int, planes: Sequence[int]) -> Any:
    """Packed codes (`quant.formats`) as int8.

    The digits of all 256 bytes are found by division, which costs nothing, and those of each byte looked up, which is ten times as fast as dividing
    them all. Half is added before dividing: a runtime may multiply by a rounded reciprocal instead.
    """
    from onnxscript import opset20

    op: Any = opset20

    def scalar(value: float) -> Any:
        return op.Constant(value_float=float(value))

    def vector(*values: int) -> Any:
        return op.Constant(value_ints=values)

    size, start, unit, parts = math.prod(shape), 0, step, list[Any]()
    halved = op.Unsqueeze(
        op.Add(op.Range(scalar(0), scalar(256), scalar(1)), scalar(0.5)), vector(1)
    )
    for base in planes:
        count = digits_per_byte(base)
        end = start + -(-size // count)
        powers = [float(base**place) for place in range(count + 1)]
        above = op.Floor(op.Div(halved, op.Constant(value_floats=powers[:-1])))
        beyond = op.Floor(op.Div(halved, op.Constant(value_floats=powers[1:])))
        digits = op.Sub(above, op.Mul(beyond, scalar(base)))
        table = op.Add(op.Mul(digits, scalar(unit)), scalar(0 if parts else low))
        places = op.Cast(op.Slice(packed, vector(start), vector(end), vector(0)), to=6)
        looked_up = op.Gather(op.Cast(table, to=3) if len(planes) == 1 else table, places)
        parts.append(
            op.Slice(op.Reshape(looked_up, vector(-1)), vector(0), vector(size), vector(0))
        )
        start, unit = end, unit * base
    codes = parts[0] if len(parts) == 1 else op.Cast(op.Add(*parts), to=3)
    return op.Reshape(codes, vector(*shape))


def decode(stored: Any, dtype: str) -> Any:
    """Bytes of a float8 as float32, by a table of all 256.

    A FLOAT8 initializer says the same, but no Gather of ONNX's reads one, and ONNX Runtime would run its DequantizeLinear anew at every call.
    """
    from onnxscript import opset20

    op: Any = opset20
    table = (
        torch.arange(256, dtype=torch.uint8).view(getattr(torch, dtype)).float().nan_to_num(0, 0, 0)
    )  # no code is a NaN or infinite
    return op.Gather(op.Constant(value_floats=table.tolist()), op.Cast(stored, to=6))


def lstm(x: Any, state: Sequence[Any], weights: Sequence[Any], form: Sequence[int]) -> Any:
    """An LSTM node for each layer, by the translation of torch's own op."""
    from onnxscript.function_libs.torch_lib.ops.core import aten_lstm

    bias, layers, both_ways, rows_first = form
    return aten_lstm(
        x, state, weights, bool(bias), layers, 0.0, False, bool(both_ways), bool(rows_first)
    )


def gru(x: Any, state: Sequence[Any], weights: Sequence[Any], form: Sequence[int]) -> Any:
    """A GRU node for each layer."""
    from onnxscript.function_libs.torch_lib.ops.core import aten_gru

    bias, layers, both_ways, rows_first = form
    return aten_gru(
        x, state[0], weights, bool(bias), layers, 0.0, False, bool(both_ways), bool(rows_first)
    )


def dynamic_quantize_linear(x: Any, codes: Any, scale: Any) -> Any:
    """A linear layer whose input is quantized by its own range; ONNX Runtime fuses the four ops."""
    from onnxscript import opset20 as op

    quantized, x_scale, x_zero = op.DynamicQuantizeLinear(x)
    return op.Mul(op.Cast(op.MatMulInteger(quantized, codes, x_zero), to=1), op.Mul(x_scale, scale))


def optimized_ops(path: Path) -> Counter[str]:
    """How many of each op the graph holds after ONNX Runtime has optimized it."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return Counter(
            node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node
        )


def check_kernels(model: nn.Module, path: Path) -> None:
    """Every quantized product runs in an integer kernel. Raises ValueError with the counts."""
    wanted = sum(isinstance(m, IntegerConvolution) and m.has_codes for m in model.modules())
    wanted += sum(2 * isinstance(m, Products) for m in model.modules())
    wanted += sum(
        isinstance(m, IntegerLinear) and (m.is_dynamic or not isinstance(m.input, nn.Identity))
        for m in model.modules()
    )
    ops = optimized_ops(path)
    found = sum(ops[name] for name in INTEGER_KERNELS)
    if found < wanted:
        raise ValueError(
            f"export: {wanted} products are quantized, but ONNX Runtime runs only {found} in integer kernels. Its graph: {dict(ops)}"
        )
