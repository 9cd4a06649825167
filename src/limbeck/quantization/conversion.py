"""A trained, fake-quantized model to one that holds integers."""

import copy

from torch import nn

from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.integer import CONVERTED, ActivationQuantizer, Integer, gru, lstm
from limbeck.quantization.modules.recurrent import QuantizedRecurrence
from limbeck.quantization.modules.swap import Quantized
from limbeck.quantization.prepare import replace


def convert_model(model: nn.Module) -> nn.Module:
    """A copy of a trained, quantized model in eval mode whose weights are codes and nothing else.

    Weights are those that were trained, on the device of `model`, which is left as it is.
    """
    for module in model.modules():
        if isinstance(module, Quantized):
            # It belongs to the last training step's graph, and such tensors cannot be copied.
            module.pair = None
    converted = copy.deepcopy(model).eval()
    # 1. Weights: modules that were tied share codes and scales.
    first_holders: dict[FakeQuantizer, Integer] = {}
    for name, module in list(converted.named_modules()):
        if isinstance(module, Quantized):
            integer = CONVERTED[type(module)](module)
            first = first_holders.setdefault(module.quantizer, integer)
            integer.share(first)
            replace(converted, name, integer)
        elif isinstance(module, QuantizedRecurrence):
            # The ops whose sequence length stays free in an exported graph.
            module.op = lstm if module.is_lstm else gru
    # 2. Activations: the same quantizer stands in several places, and is replaced in each.
    for name, module in list(converted.named_modules(remove_duplicate=False)):
        if isinstance(module, FakeQuantizer):
            replace(converted, name, ActivationQuantizer(module))
    return converted
