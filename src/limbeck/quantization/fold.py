"""Which batch norms are part of a product. One behind it is folded while it learns (`quant.swap.Normed`); one before it once it has learned:

    W (f x + c) + b = (W f) x + (W c + b)        f = gamma / sigma, c = beta - mu f by input channel

Not where zeros surround what the norm makes, since they would have to be -c / f around x; nor in training, which needs the batch's own statistics.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from limbeck.models.dataflow import Flow, watch

PRODUCTS = (nn.Linear, nn.Conv1d, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
NO_PADDING: tuple[Any, ...] = ("valid", (0,), (0, 0))


def norm_after(model: nn.Module, flow: Flow, name: str) -> str | None:
    """The batch norm over the output channels of the product `name`, where it alone reads them."""
    module: Any = model.get_submodule(name)
    reader = flow.reader(model, name, NORMS)
    return (
        reader
        if reader
        and is_over_channels(
            model.get_submodule(reader), flow.ranks.get(flow.makes.get(name, -1)), module
        )
        else None
    )


def is_over_channels(norm: Any, rank: int | None, product: Any) -> bool:
    """Whether a norm of a tensor with `rank` axes scales the channels of a product by constants once it has learned.

    Of a linear layer's positions, or of a convolution's without rows, BatchNorm1d takes another axis for the channels.
    """
    return rank == product.weight.ndim and norm.affine and norm.running_var is not None


def norm_before(model: nn.Module, flow: Flow, name: str) -> str | None:
    """The batch norm over the input channels of the product `name`, where nothing else reads what it makes and no zeros are put around it."""
    product: Any = model.get_submodule(name)
    tensor = flow.reads.get(name, -1)
    maker = next((other for other, made in flow.makes.items() if made == tensor), None)
    norm = model.get_submodule(maker) if maker else None
    if not isinstance(norm, NORMS) or not is_over_channels(norm, flow.ranks.get(tensor), product):
        return None
    pads = not isinstance(product, nn.Linear) and product.padding not in NO_PADDING
    return (
        None
        if pads or flow.uses[tensor] != 1 or flow.calls[name] != 1 or flow.calls[maker or ""] != 1
        else maker
    )


def fold_before(
    model: nn.Module, names: Iterable[str], forward: Callable[[nn.Module], Any]
) -> None:
    """Fold the norms before the products among `names`, in place; `forward(model)` runs one batch. One behind another of them is left to it."""
    modules = dict(model.named_modules())
    if not any(isinstance(module, NORMS) for module in modules.values()):
        return
    flow = watch(model, forward)
    holders = Counter(
        id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False)
    )
    products = {name: modules[name] for name in names if isinstance(modules.get(name), PRODUCTS)}
    taken = {norm_after(model, flow, name) for name in products}
    for name, product in products.items():
        found = norm_before(model, flow, name)
        if found and found not in taken and holders[id(product.weight)] == 1:
            fold(modules[found], product)
            owner, _, key = found.rpartition(".")
            setattr(model.get_submodule(owner), key, nn.Identity())


def fold(norm: Any, product: Any) -> None:
    """`product` of what `norm` reads, for good."""
    with torch.no_grad():
        factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        offset = norm.bias - norm.running_mean * factor
        groups = 1 if isinstance(product, nn.Linear) else product.groups
        by_input = product.weight.view(
            groups, -1, product.weight.shape[1], product.weight[0, 0].numel()
        )
        shift = (by_input * offset.view(groups, 1, -1, 1)).sum((2, 3)).flatten()
        product.bias = nn.Parameter(shift if product.bias is None else product.bias + shift)
        by_input.mul_(factor.view(groups, 1, -1, 1))
