"""A graph for OpenVINO, in ONNX's format.

Where activations have fixed scales, it reads the same `model.onnx` as ONNX Runtime. Where they are
scaled anew for every input (`uint8-dynamic`), it reads a graph of its own over the same integer
weights, `model-openvino.onnx`: there DequantizeLinear stands before each matrix product, and
OpenVINO quantizes the activations by itself, in groups.

Models that generate text are written by `openvino_genai`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from limbeck.exporters.onnx import Onnx
from limbeck.exporters.onnx_graph import NEEDS, to_onnx
from limbeck.exporters.onnx_ops import weight_only_linear
from limbeck.quantization.modules.integer import IntegerLinear


class Openvino:
    """Names the graph of `onnx` where it serves OpenVINO too, or writes another."""

    runtimes: ClassVar[tuple[str, ...]] = ("openvino",)
    needs: ClassVar[Mapping[str, str]] = NEEDS
    other_exporters: ClassVar[Mapping[str, str]] = {"text-generation": "openvino_genai"}

    def export(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], folder: Path
    ) -> dict[str, str]:
        """Name `model.onnx`, or write a graph where that does not serve."""
        linear = [module for module in model.modules() if isinstance(module, IntegerLinear)]
        is_dynamic = any(module.is_dynamic for module in linear)
        name = "model-openvino.onnx" if is_dynamic else Onnx.file
        # The exporter `onnx` may have written `model.onnx` already; without it, it is written here.
        if not (folder / name).exists():
            to_onnx(model, inputs, folder / name, dynamic_translation=weight_only_linear)
        return {"openvino": name}
