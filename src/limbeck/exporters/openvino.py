"""The artifact in OpenVINO.

Static activations: it reads the same `model.onnx`. Dynamic activations: a graph of its own over the same integer weights, in
which DequantizeLinear stands before each matrix product and OpenVINO quantizes the activations by itself, by group.

It runs with INFERENCE_PRECISION_HINT=f32: its default on CPUs with bfloat16 is bf16, which flips more decisions than quantization does.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from limbeck.exporters import onnx as onnx_exporter
from limbeck.quantization.integer import IntegerLinear


class Openvino:
    """No keys."""

    runtime: ClassVar[str] = "openvino"

    def export(self, model: nn.Module, inputs: dict[str, torch.Tensor], folder: Path) -> str:
        """The file that OpenVINO reads; written where model.onnx does not serve."""
        is_dynamic = any(
            isinstance(module, IntegerLinear) and module.is_dynamic for module in model.modules()
        )
        name = "model-openvino.onnx" if is_dynamic else onnx_exporter.Onnx.file
        if not (folder / name).exists():
            onnx_exporter.to_onnx(model, inputs, folder / name, dynamic_translation=weight_only)
        return name

    def open(self, path: Path, threads: int) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
        """Run the graph in OpenVINO."""
        from limbeck.artifact.load import open_openvino

        return open_openvino(path, threads)


def weight_only(x: Any, codes: Any, scale: Any) -> Any:
    """A linear layer over dequantized weights."""
    from onnxscript import opset20 as op

    return op.MatMul(x, op.DequantizeLinear(codes, scale, axis=1))
