"""Answers of a model in which the last bit of whatever it rounds is moved:

    x (1 +- 2^-23)      x before it is rounded to its grid, the sign drawn for each value

Two runtimes add the same products in another order, and their sums differ by about as much. Where
such a sum lies at the edge between two levels it falls to either side, and what is a last bit of a
float becomes a step of eight bits. Most models hardly move (0 of 46,435 words, a few thousandths of
the logits' spread); a deep network with batch norms that has barely learned can answer a quarter of
its rows visibly otherwise (docs/log.md). No export of it can be closer than that.
"""

from typing import Any

import torch
from torch import Tensor, nn

from limbeck.quantization.modules.kv_cache import KeptInInt8
from limbeck.quantization.modules.swap import Quantized, activation_quantizers

# The distance of neighbouring float32 numbers, of a number's own size.
LAST_BIT = 2.0**-23


def move_last_bits(model: nn.Module, seed: int) -> nn.Module:
    """Let `model` move what it rounds from now on, by signs that `seed` draws; it is returned.

    Weights are not moved: every runtime holds the same integers.
    """
    generator = torch.Generator().manual_seed(seed)

    def move(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        x, *others = inputs
        if not isinstance(x, Tensor) or not x.is_floating_point():
            return inputs  # ids, of which an embedding is read
        # Drawn on the host: the same signs on every device.
        signs = torch.randint(0, 2, x.shape, generator=generator).mul_(2).sub_(1)
        return x * (1 + LAST_BIT * signs.to(x.device)), *others

    for module in readers(model):
        module.register_forward_pre_hook(move)
    return model


def readers(model: nn.Module) -> list[nn.Module]:
    """What rounds activations: the static quantizers, layers that find a range in each call, and
    caches of int8."""
    dynamic: list[nn.Module] = []
    for module in model.modules():
        is_layer = isinstance(module, Quantized) and (module.is_dynamic or module.token_group)
        if is_layer or isinstance(module, KeptInInt8):
            dynamic.append(module)
    return [*activation_quantizers(model), *dynamic]
