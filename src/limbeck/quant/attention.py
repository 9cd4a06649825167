"""The two matrix products of attention on uint8 tensors, as in I-BERT (Kim et al., 2021, arXiv 2101.01321), but with the softmax in float:

    P = softmax(Q(s q) Q(k)^T + mask)        context = Q(P) Q(v)

q, k and v have ranges of their own; s is taken into q, of which there is less than of scores. P lies between 0 and 1, so its scale is 1/255 and its
zero point 0, neither fitted nor learned. The scores themselves stay float: after the mask they reach to the lowest float32, and no range holds both.
Dropout comes after Q(P), since what it scales up leaves the grid.

Models are reached through the attention interface of `transformers`; none of their code is touched. Shapes: B rows, H heads, T and S tokens, D width
of a head.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from limbeck import registry
from limbeck.quant.fake import FakeQuantizer
from limbeck.quant.formats import GRIDS, Grid
from limbeck.ranges import Range, Still

NAME = "limbeck"  # of the implementation
CHILD = "products"  # of the attention module
MORE = ("position_bias", "softcap", "s_aux", "sinks")  # what some models hand over, and the formula above has no place for
ADDED: ContextVar[type[Range] | None] = ContextVar("ADDED", default=None)  # while a model's attention modules are looked for


class Whole(Still):
    """The range of probabilities."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def observe(self, values: torch.Tensor) -> None:
        """Nothing to learn from them."""

    def fit(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(1) and (1)."""
        return torch.full((1,), 1 / self.grid.high), torch.zeros(1)


class Products(nn.Module):
    """Both products, and the quantizer of each factor."""

    def __init__(self, range_class: type[Range]) -> None:
        super().__init__()
        self.query, self.key, self.value = (FakeQuantizer(GRIDS["uint8"], range_class) for _ in range(3))
        self.probabilities = FakeQuantizer(GRIDS["uint8"], Whole)

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, *, scaling: float, dropout: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, H, D) context and (B, H, T, S) P as float, of `query` (B, H, T, D), `key` and `value` (B, H or a part of it, S, D)."""
        readers = query.shape[1] // key.shape[1]
        if readers > 1:
            key, value = (tensor.repeat_interleave(readers, 1) for tensor in (key, value))
        scores = self.query(query * scaling) @ self.key(key.transpose(-1, -2))
        probabilities = (scores if mask is None else scores + mask).softmax(-1)
        kept = functional.dropout(self.probabilities(probabilities), dropout, self.training)
        return (kept @ self.value(value)).transpose(1, 2).contiguous(), probabilities


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **settings: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The attention function that `transformers` calls. Raises ValueError for a module that computes something else, or was never seen."""
    kind = type(module).__name__
    for name in MORE:
        if settings.get(name) is not None:
            raise ValueError(f"quantize.attention: `{kind}` adds `{name}` to its products, which stays float here. Leave `attention` out")
    added = ADDED.get()
    if added is not None and CHILD not in dict(module.named_children()):
        module.add_module(CHILD, Products(added))
    products = dict(module.named_children()).get(CHILD)
    if not isinstance(products, Products):
        raise ValueError(f"quantize.attention: a `{kind}` runs now that did not run on the first batch. Leave `attention` out")
    scaling = query.shape[-1] ** -0.5 if settings.get("scaling") is None else settings["scaling"]
    return products(query, key, value, attention_mask, scaling=scaling, dropout=settings.get("dropout", 0.0))


def attach(model: nn.Module, range_name: str, forward: Callable[[nn.Module], Any]) -> None:
    """Give every attention module of `model` its `Products`, not fitted yet; `forward(model)` runs one batch, to see which they are.

    Raises ValueError for a model whose attention does not go through the interface of `transformers`.
    """
    from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, AttentionMaskInterface()["eager"])
    parts = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
    for part in parts:
        part.set_attn_implementation(NAME)
        if part.config._attn_implementation != NAME:
            raise refusal(part)
    token, was_training = ADDED.set(registry.load("ranges", range_name)), model.training
    try:
        with torch.no_grad():
            forward(model.eval())
    finally:
        ADDED.reset(token)
        model.train(was_training)
    if not any(isinstance(module, Products) for module in model.modules()):
        raise refusal(model)


def refusal(model: nn.Module) -> ValueError:
    """For a model of which no product is reached."""
    return ValueError(
        f"quantize.attention: the attention of `{type(model).__name__}` does not go through the attention interface of transformers, "
        "so its products stay float. Leave `attention` out, or take another student, such as a BERT"
    )
