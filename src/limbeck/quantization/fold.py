"""Which batch norms are part of a product, so that they can be folded into its weights.

One behind a product is folded while it learns (`swap.Normed`); one before it once it has learned:

    W (f x + c) + b = (W f) x + (W c + b)        f = gamma / sigma, c = beta - mu f

f and c are by input channel. Not where zeros surround what the norm makes, since they would have
to be -c / f around x; nor in training, which needs the batch's own statistics.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from limbeck.models.anatomy.dataflow import Flow, is_usual, watch
from limbeck.models.processes import WholeBatchNorm1d, WholeBatchNorm2d

PRODUCTS = (nn.Linear, nn.Conv1d, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
# Those that a forward of torch's or of several processes stands for.
USUAL_NORMS = (*NORMS, WholeBatchNorm1d, WholeBatchNorm2d)
# How torch spells that a convolution, of one axis or two, pads nothing.
NO_PADDING: tuple[Any, ...] = ("valid", (0,), (0, 0))


def norm_after(
    model: nn.Module,
    flow: Flow,
    name: str,
) -> str | None:
    """The batch norm over the output channels of the product `name`, where it alone reads them.

    None where there is none.
    """
    reader = flow.reader(model, name, USUAL_NORMS)
    if reader is None:
        return None
    norm: Any = model.get_submodule(reader)
    product: Any = model.get_submodule(name)
    tensor = flow.makes.get(name, -1)
    num_axes = flow.ranks.get(tensor)
    return reader if is_over_channels(norm, num_axes, product) else None


def is_over_channels(
    norm: Any,
    num_axes: int | None,
    product: Any,
) -> bool:
    """Whether a norm scales the channels of a product by constants once it has learned.

    `num_axes`: of the tensor that the norm reads.
    """
    # Of a linear layer's positions (B, T, D), or of a convolution's (C, T) without rows,
    # BatchNorm1d takes another axis for the channels.
    has_channels = num_axes == product.weight.ndim
    # Without running moments a norm takes those of every batch, which are no constants.
    return has_channels and norm.affine and norm.running_var is not None


def norm_before(
    model: nn.Module,
    flow: Flow,
    name: str,
) -> str | None:
    """The batch norm over the input channels of the product `name`.

    None where there is none, where something else reads what it makes, or where zeros are put
    around that.
    """
    product: Any = model.get_submodule(name)
    tensor = flow.reads.get(name, -1)
    maker = maker_of(flow, tensor)
    if maker is None:
        return None
    norm: Any = model.get_submodule(maker)
    if not is_usual(norm, USUAL_NORMS):
        return None
    if not is_over_channels(norm, flow.ranks.get(tensor), product):
        return None
    if not isinstance(product, nn.Linear) and product.padding not in NO_PADDING:
        return None
    # What a module that runs twice makes the second time is another tensor, with other readers.
    runs = (flow.calls[maker], flow.calls[name])
    is_only_reader = flow.uses[tensor] == 1 and runs == (1, 1)
    return maker if is_only_reader else None


def maker_of(flow: Flow, tensor: int) -> str | None:
    """The module that makes a tensor; None where no module does."""
    for name, made in flow.makes.items():
        if made == tensor:
            return name
    return None


def fold_before(
    model: nn.Module,
    names: Iterable[str],
    forward: Callable[[nn.Module], Any],
) -> None:
    """Fold the norms before the products among `names` into them, in place.

    `forward(model)` runs one batch, to see who reads what. A norm between two products is left to
    the first of them.
    """
    modules = dict(model.named_modules())
    has_norms = any(isinstance(module, NORMS) for module in modules.values())
    if not has_norms:
        return
    flow = watch(model, forward)
    products = {}
    for name in names:
        if isinstance(modules.get(name), PRODUCTS):
            products[name] = modules[name]
    taken = {norm_after(model, flow, name) for name in products}
    num_holders = count_holders(model)
    for name, product in products.items():
        norm_name = norm_before(model, flow, name)
        if norm_name is None or norm_name in taken:
            continue
        # Another holder of the weight would read it with the norm folded in, and has none.
        if num_holders[id(product.weight)] > 1:
            continue
        fold(modules[norm_name], product)
        owner, _, key = norm_name.rpartition(".")
        setattr(model.get_submodule(owner), key, nn.Identity())


def count_holders(model: nn.Module) -> Counter[int]:
    """How many modules hold each parameter, by the parameter's id."""
    parameters = model.named_parameters(remove_duplicate=False)
    return Counter(id(parameter) for _, parameter in parameters)


def fold(norm: Any, product: Any) -> None:
    """Let `product` compute what it makes of the norm's output from the norm's input, for good."""
    with torch.no_grad():
        # f and c of the module's formula.
        variance = norm.running_var + norm.eps
        factor = norm.weight * torch.rsqrt(variance)
        offset = norm.bias - norm.running_mean * factor
        # (groups, O / groups, D / groups, pixels of a window): a group of a convolution has input
        # channels of its own.
        groups = 1 if isinstance(product, nn.Linear) else product.groups
        width = product.weight.shape[1]
        window = product.weight[0, 0].numel()
        by_input = product.weight.view(groups, -1, width, window)
        weighted = by_input * offset.view(groups, 1, -1, 1)
        shift = weighted.sum((2, 3)).flatten()
        if product.bias is not None:
            shift = product.bias + shift
        product.bias = nn.Parameter(shift)
        # A view: the weight itself is scaled.
        by_input.mul_(factor.view(groups, 1, -1, 1))
