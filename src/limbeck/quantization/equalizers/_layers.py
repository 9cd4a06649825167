"""What rewrites ask of quantized layers: which there are, whose weights are theirs alone, and where their shift lies."""

from collections import Counter

import torch
from torch import nn

from limbeck.models.dataflow import Flow
from limbeck.quantization.swap import QuantizedConvolution, QuantizedLinear, find

Layer = QuantizedConvolution | QuantizedLinear


def layers(model: nn.Module, flow: Flow) -> dict[str, Layer]:
    """The quantized linear layers and convolutions by name, in the order in which they run."""
    found = {name: find(model, name) for name in flow.reads}
    return {
        name: layer
        for name, layer in found.items()
        if isinstance(layer, (QuantizedConvolution, QuantizedLinear))
    }


def own(model: nn.Module, flow: Flow) -> dict[str, Layer]:
    """Those whose weight no other module holds."""
    holders = Counter(
        id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False)
    )
    return {
        name: layer for name, layer in layers(model, flow).items() if holders[id(layer.weight)] == 1
    }


def shift_of(layer: Layer) -> torch.Tensor | None:
    """(O) what is added to a layer's output last: the shift of its norm, or its bias."""
    return layer.bias if layer.norm is None else layer.norm.bias
