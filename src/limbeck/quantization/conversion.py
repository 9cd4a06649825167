"""A trained, fake-quantized model to one that holds integers."""

import copy

from torch import nn

from limbeck.quantization.fake import FakeQuantizer
from limbeck.quantization.integer import CONVERTED, ActivationQuantizer, Integer, gru, lstm
from limbeck.quantization.prepare import replace
from limbeck.quantization.recurrent import QuantizedRecurrence
from limbeck.quantization.swap import Quantized


def convert_model(model: nn.Module) -> nn.Module:
    """A copy of a trained, quantized model whose quantized weights are int8 codes and nothing else."""
    for module in model.modules():
        if isinstance(module, Quantized):
            module.pair = None  # belongs to the last training step's graph
    converted = copy.deepcopy(model).eval()
    made: dict[FakeQuantizer, Integer] = {}
    for name, module in list(converted.named_modules()):
        if isinstance(module, Quantized):
            integer = CONVERTED[type(module)](module)
            integer.share(made.setdefault(module.quantizer, integer))
            replace(converted, name, integer)
        elif isinstance(module, QuantizedRecurrence):
            module.op = lstm if module.is_lstm else gru
    for name, module in list(converted.named_modules(remove_duplicate=False)):
        if isinstance(module, FakeQuantizer):
            replace(converted, name, ActivationQuantizer(module))
    return converted
