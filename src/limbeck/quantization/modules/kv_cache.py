"""`quantize.kv_cache: int8`: attention reads keys and values as a cache of int8 keeps them.

    k^ = by_token(k),    v^ = by_token(v)        a scale for each head of a token (`fake.by_token`)

Keys are rounded after their positions were turned into them (rotary embeddings), as the exported
graph keeps them. The rounding is a part of every attention module, so that a training, its scores
and what the student writes all read the same keys and values. `key_values.Int8Cache` gives the same
rounding to a model of transformers that was trained without it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.models.anatomy.attention import Products, unreached
from limbeck.quantization.host_copy import HostCopy
from limbeck.quantization.modules.attention import add_products
from limbeck.quantization.modules.fake import by_token


class KeptInInt8(nn.Module):
    """Keys or values (B, heads, S, width), rounded where they are read.

    As every quantizer it passes values through until it is `calibrated`, so that a training begins
    in float where the recipe says so (`quantize.start`). It has no range to fit: each head of a
    token has its own. The model's own cache stays float beside it.
    """

    calibrated: Tensor

    def __init__(self, device: torch.device | None = None) -> None:
        super().__init__()
        calibrated = torch.zeros((), dtype=torch.bool, device=device)
        self.register_buffer("calibrated", calibrated)
        self.calibrated_copy = HostCopy()

    def forward(self, heads: Tensor) -> Tensor:
        """What int8 codes and their fp16 scales stand for; straight-through in the backward
        pass."""
        if not self.calibrated_copy.of(self.calibrated):
            return heads
        # In float32, whatever the model multiplies in, as the exported graph rounds.
        rounded = by_token(heads.float(), heads.shape[-1], is_half=True)
        return rounded.to(heads.dtype)


def attach(model: nn.Module, forward: Callable[[nn.Module], Any]) -> None:
    """Let every attention module of `model` round the keys and values that it reads, once the model
    is calibrated.

    `forward(model)` runs one batch, to see which modules attend.

    Raises ValueError for a model whose attention does not go through the interface of
    `transformers`.
    """
    found = add_products(model, Products, forward)
    if not found:
        raise unreached(
            model,
            "its keys and values cannot be rounded. Leave `kv_cache` out, or take another student, "
            "such as a Llama",
            "quantize.kv_cache",
        )
    device = next(model.parameters()).device
    for products in found:
        products.kept = KeptInInt8(device)


def cache_format(model: nn.Module) -> str:
    """How a model keeps keys and values, as a recipe says it: `int8` or `float`."""
    is_rounded = any(isinstance(module, KeptInInt8) for module in model.modules())
    return "int8" if is_rounded else "float"
