"""One ONNX graph, `model.onnx`, for ONNX Runtime.

The converted model (`quantization.integer`) is traced once by torch.export. Its ops become
QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear and MatMulInteger with the very codes and
scales that were trained (`onnx_ops`): nothing is recomputed, and no float copy of a quantized
weight is left. Codes of fewer than 8 bits lie packed in the file; the graph unpacks them with ops
on constants, which a runtime computes once, when it loads the graph, and then multiplies int8. A
float8 lies there as its byte, and the graph multiplies floats.

A quantized matrix product or convolution that ONNX Runtime does not fuse into an integer kernel
fails the export (`onnx_kernels`): it would be slower than the float model that it replaces.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from limbeck.exporters.onnx_graph import NEEDS, to_onnx
from limbeck.exporters.onnx_kernels import check_kernels
from limbeck.exporters.onnx_ops import dynamic_quantize_linear


class Onnx:
    """No keys."""

    runtimes: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    needs: ClassVar[Mapping[str, str]] = NEEDS
    file: ClassVar[str] = "model.onnx"

    def export(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], folder: Path
    ) -> dict[str, str]:
        """Write the graph. Raises ValueError where integer kernels are missing."""
        path = folder / self.file
        to_onnx(model, inputs, path, dynamic_translation=dynamic_quantize_linear)
        # On the file, not on the model: what counts is what the runtime makes of it.
        check_kernels(model, path)
        return {"onnxruntime": self.file}
