"""One ONNX graph, `model.onnx`, for ONNX Runtime.

Quantization becomes the standard operators QuantizeLinear, DequantizeLinear,
DynamicQuantizeLinear and MatMulInteger, with the very integers and scales that were trained:
nothing is recomputed, and no float copy of a quantized weight is left. Integers of fewer than 8
bits lie packed in the file; the graph unpacks them when it is loaded, and then multiplies int8. A
float8 lies there as its byte, and the graph multiplies floats.

A quantized matrix product or convolution that ONNX Runtime does not compute in integers fails the
export: it would be slower than the float model that it replaces.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from limbeck.exporters.decoder_folder import activations_of, read_model
from limbeck.exporters.onnx_decoder import export_decoder
from limbeck.exporters.onnx_graph import NEEDS, to_onnx
from limbeck.exporters.onnx_kernels import check_kernels
from limbeck.exporters.onnx_ops import dynamic_quantize_linear
from limbeck.quantization.modules.kv_cache import cache_format


class Onnx:
    """Traces the converted model (`quantization.modules.integer`) once by torch.export.

    `onnx_ops` says what each of its operators becomes, `onnx_kernels` what ONNX Runtime has to make
    of them.
    """

    runtimes: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    needs: ClassVar[Mapping[str, str]] = NEEDS
    kv_caches: ClassVar[tuple[str, ...]] = ("float", "int8")
    other_kv_cache: ClassVar[str] = ""
    file: ClassVar[str] = "model.onnx"

    def export(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], folder: Path
    ) -> dict[str, str]:
        """Write the graph. Raises ValueError where integer kernels are missing."""
        path = folder / self.file
        if generates(model):
            # Written from the weights, with a cache, and not traced.
            decoder = read_model(model, folder)
            activations, kv_cache = activations_of(model), cache_format(model)
            export_decoder(model, folder, decoder.codes, activations, kv_cache=kv_cache)
            # ONNX Runtime GenAI reads texts by the files of transformers.
            decoder.write_tokenizer(folder)
            return {"onnxruntime": self.file}
        to_onnx(model, inputs, path, dynamic_translation=dynamic_quantize_linear)
        # On the file, not on the model: what counts is what the runtime makes of it.
        check_kernels(model, path)
        return {"onnxruntime": self.file}


def generates(model: nn.Module) -> bool:
    """Whether it is a causal language model, whose next token is what is asked."""
    # A method of the models of transformers.
    return bool(getattr(model, "can_generate", bool)())
