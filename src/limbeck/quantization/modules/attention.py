"""The two matrix products of attention on uint8 tensors, with the softmax in float:

    P = softmax(Q(s q) Q(k)^T + mask)        context = Q(P) Q(v)

I-BERT (Kim et al., 2021, arXiv 2101.01321) does the same with a softmax of integers.

- q, k and v have ranges of their own. s is taken into q, of which there is less than of scores.
- P lies between 0 and 1, so its scale is 1/255 and its zero point 0, neither fitted nor learned.
- The scores stay float: after the mask they reach to the lowest float32, and no range holds both.

`models.anatomy.attention` computes the products; `attach` gives each attention module its
quantizers.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from limbeck.core import registry
from limbeck.core.grids import GRIDS, Grid
from limbeck.models.anatomy.attention import (
    Products,
    adding_products,
    is_routed,
    route_attention,
    unreached,
)
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.ranges import Range, Still

# Signed codes would waste a bit on P, which is never negative; q, k and v have a zero point.
GRID = GRIDS["uint8"]


class UnitRange(Still):
    """The range of probabilities: 0 to 1, whatever is observed."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.device: torch.device | None = None

    def observe(self, values: torch.Tensor) -> None:
        """Learn where the probabilities lie; how large they are is known."""
        self.device = values.device

    def fit(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale (1) and zero point (1)."""
        # The highest code stands for 1, which a row of scores with one token that counts reaches.
        scale = torch.full((1,), 1 / self.grid.high, device=self.device)
        return scale, torch.zeros_like(scale)


def quantized_products(range_class: type[Range], device: torch.device | None = None) -> Products:
    """Products whose four factors are quantized; the ranges of q, k and v are not fitted yet.

    `device`: where the model lies, and so the state of its quantizers; the CPU where left out.
    """
    # The quantizers take the place of identities in the float products.
    products = Products()
    products.query = FakeQuantizer(GRID, range_class, device=device)
    products.key = FakeQuantizer(GRID, range_class, device=device)
    products.value = FakeQuantizer(GRID, range_class, device=device)
    products.probabilities = FakeQuantizer(GRID, UnitRange, device=device)
    return products


def attach(model: nn.Module, range_name: str, forward: Callable[[nn.Module], Any]) -> None:
    """Give every attention module of `model` quantized products, not fitted yet.

    `forward(model)` runs one batch, to see which modules attend.

    Raises ValueError for a model whose attention does not go through the interface of
    `transformers`.
    """
    range_class = registry.load("ranges", range_name)
    device = next(model.parameters()).device
    make_products = partial(quantized_products, range_class, device)
    if not add_products(model, make_products, forward):
        raise refusal(model)


def add_products(
    model: nn.Module, make_products: Callable[[], Products], forward: Callable[[nn.Module], Any]
) -> list[Products]:
    """Give every attention module of `model` products of its own, and return them all.

    A module that has some keeps those. `forward(model)` runs one batch, to see which modules
    attend. The list is empty for a model whose attention is computed elsewhere.
    """
    route_attention(model)
    if not is_routed(model):
        return []
    # In eval mode and without gradients: the batch only shows which modules attend.
    was_training = model.training
    try:
        with torch.no_grad(), adding_products(make_products):
            forward(model.eval())
    finally:
        model.train(was_training)
    return [module for module in model.modules() if isinstance(module, Products)]


def refusal(model: nn.Module) -> ValueError:
    """The error for a model of which no product is reached."""
    return unreached(
        model,
        "its products stay float. Leave `attention` out, or take another student, such as a BERT",
        "quantize.attention",
    )
