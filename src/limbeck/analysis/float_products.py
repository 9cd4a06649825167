"""Which products of a quantized model still multiply weights that are floats, counted by call.

A layer stays float where a recipe says so (`keep_float`), where it computes otherwise than its
class, and where its weight is read past it: no list of modules tells all three. So one forward is
watched, down to the operations that torch computes, whoever asked for them.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from limbeck.core.wording import some

# The operations that multiply by a matrix or a kernel, as torch computes them.
PRODUCTS = (
    "_native_multi_head_attention",
    "_transformer_encoder_layer_fwd",
    "addbmm",
    "addmm",
    "baddbmm",
    "bmm",
    "convolution",
    "mkldnn_rnn_layer",
    "mm",
)


class _Watch(TorchDispatchMode):
    """Counts the products in which a weight is one of the factors, by the weight's name."""

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self.names = names
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(
        self,
        function: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if function.overloadpacket.__name__ in PRODUCTS:
            # A transposed weight is another tensor over the same memory.
            places = [place_of(each) for each in args if isinstance(each, torch.Tensor)]
            self.calls.update({self.names[place] for place in places if place in self.names})
        return function(*args, **(kwargs or {}))


def place_of(tensor: torch.Tensor) -> int:
    """Where a tensor's memory begins."""
    return tensor.untyped_storage().data_ptr()


def float_products(model: nn.Module, forward: Callable[[nn.Module], Any]) -> dict[str, int]:
    """How often one forward of a fake-quantized model multiplies by each float weight, by name.

    forward: runs one batch. The modules that quantize multiply by what they have rounded, and are
    not among them.
    """
    names = {}
    for name, parameter in model.named_parameters():
        # A bias is added.
        if parameter.ndim > 1:
            names[place_of(parameter)] = name
    watch = _Watch(names)
    was_training = model.training
    try:
        with torch.no_grad(), watch:
            forward(model.eval())
    finally:
        model.train(was_training)
    return dict(watch.calls)


def in_words(products: Mapping[str, int]) -> str:
    """The products in words, for a card and a report.

    Example:
        >>> in_words({"head.weight": 1, "mixer.weight": 2})
        '3 products a row, with head.weight, mixer.weight'
    """
    calls = sum(products.values())
    return f"{calls} product{'s' * (calls > 1)} a row, with {some(list(products))}"
