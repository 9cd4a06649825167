"""A graph for OpenVINO, in ONNX's format.

Where activations have fixed scales, it reads the same `model.onnx` as ONNX Runtime. Where they are
scaled anew for every input (`uint8-dynamic`), it reads a graph of its own over the same integer
weights, `model-openvino.onnx`: there DequantizeLinear stands before each matrix product, and
OpenVINO quantizes the activations by itself, in groups.

The graph with a cache of a model that generates text is the same file: OpenVINO reads ONNX
Runtime's MatMulNBits and GroupQueryAttention, of int8.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from limbeck.exporters.decoder_folder import activations_of, read_model
from limbeck.exporters.onnx import Onnx, generates
from limbeck.exporters.onnx_graph import NEEDS, to_onnx
from limbeck.exporters.onnx_ops import weight_only_linear
from limbeck.quantization.modules.integer import IntegerLinear


class Openvino:
    """Names the graph of `onnx` where it serves OpenVINO too, or writes another."""

    runtimes: ClassVar[tuple[str, ...]] = ("openvino",)
    needs: ClassVar[Mapping[str, str]] = NEEDS

    def export(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], folder: Path
    ) -> dict[str, str]:
        """Name `model.onnx`, or write a graph where that does not serve."""
        if generates(model):
            refuse_otherwise_read(model, folder)
            if not (folder / Onnx.file).exists():
                Onnx().export(model, inputs, folder)
            return {"openvino": Onnx.file}
        linear = [module for module in model.modules() if isinstance(module, IntegerLinear)]
        is_dynamic = any(module.is_dynamic for module in linear)
        name = "model-openvino.onnx" if is_dynamic else Onnx.file
        # The exporter `onnx` may have written `model.onnx` already; without it, it is written here.
        if not (folder / name).exists():
            to_onnx(model, inputs, folder / name, dynamic_translation=weight_only_linear)
        return {"openvino": name}


def refuse_otherwise_read(model: nn.Module, folder: Path) -> None:
    """Raise ValueError for what OpenVINO reads otherwise of a model of texts.

    Seen in 2026.4.1, of one graph: int8 is right to a millionth, logits of int4 are off by several
    times their spread, and activations that ONNX Runtime is asked to round stay as they are.
    """
    if activations_of(model) != "float":
        raise ValueError(
            "OpenVINO does not round the activations of this graph as the model was trained to. "
            "Say `activations: float`, or leave `openvino` out of `export`"
        )
    for name, each in read_model(model, folder).codes.items():
        if each.bits != 8:
            raise ValueError(
                f"`{name}`: OpenVINO computes int8 of this graph right, and {each.bits} bits not. "
                "Say `weights: int8`, or leave `openvino` out of `export`"
            )
