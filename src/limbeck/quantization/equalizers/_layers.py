"""What rewrites ask of quantized layers: which there are, and where their last shift lies."""

from collections import Counter

from torch import Tensor, nn

from limbeck.models.anatomy.dataflow import Flow
from limbeck.quantization.modules.swap import QuantizedConvolution, QuantizedLinear, find

Layer = QuantizedConvolution | QuantizedLinear


def product_layers(model: nn.Module, flow: Flow) -> dict[str, Layer]:
    """The quantized linear layers and convolutions by name, in the order in which they run."""
    layers: dict[str, Layer] = {}
    for name in flow.reads:
        module = find(model, name)
        if isinstance(module, (QuantizedConvolution, QuantizedLinear)):
            layers[name] = module
    return layers


def untied_layers(model: nn.Module, flow: Flow) -> dict[str, Layer]:
    """Those whose weight no other module holds: it may change without changing another layer."""
    # With duplicates: a weight that two modules hold is listed for each.
    holders: Counter[int] = Counter()
    for _, parameter in model.named_parameters(remove_duplicate=False):
        holders[id(parameter)] += 1
    layers = {}
    for name, layer in product_layers(model, flow).items():
        if holders[id(layer.weight)] == 1:
            layers[name] = layer
    return layers


def shift_of(layer: Layer) -> Tensor | None:
    """(O) what is added to a layer's output last: the shift of its norm, or its bias."""
    return layer.bias if layer.norm is None else layer.norm.bias
