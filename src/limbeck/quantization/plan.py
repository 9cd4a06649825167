"""Which scheme each weight gets: patterns of module names to schemes, where the last match wins.

A scheme (`recipe.model.Scheme`) says what a weight is stored as, in groups of how many values, and
what its module reads. A pattern is a glob over names (`encoder.*.query`); a plan is the schemes of
all weights by name.
"""

import fnmatch
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from limbeck.core import registry, wording
from limbeck.core.grids import GRIDS
from limbeck.core.wording import some
from limbeck.models.anatomy.linear import is_transposed
from limbeck.quantization.roundings import mismatch
from limbeck.recipe.model import Quantize, Scheme

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
QUANTIZABLE = (nn.Linear, nn.Embedding, *CONVOLUTIONS)
RECURRENT = (nn.LSTM, nn.GRU)

# What `keep_float` asks for.
FLOAT = Scheme(weights="float", activations="float")


class Weight(NamedTuple):
    """A weight that can be quantized, and the `module`, named `owner`, that holds it.

    `tensor`: (O, ...), outputs first; of a Conv1D a view.
    """

    owner: str
    module: nn.Module
    tensor: Tensor


def quantizable_weights(model: nn.Module) -> dict[str, Weight]:
    """Every weight of `model` that can be quantized, by its name.

    That is the module's name where it has one weight, and with the parameter's own where it has
    several (LSTM, GRU).
    """
    weights: dict[str, Weight] = {}
    for name, module in model.named_modules():
        if isinstance(module, QUANTIZABLE) and computes_as_usual(module):
            weights[name] = Weight(name, module, module.weight)
        elif is_transposed(module):
            # GPT-2's linear layer, which `prepare` makes torch's.
            weights[name] = Weight(name, module, module.get_parameter("weight").t())
        elif isinstance(module, RECURRENT):
            for key, parameter in module.named_parameters():
                # The others are biases, which stay float.
                if key.startswith("weight_"):
                    weights[f"{name}.{key}"] = Weight(name, module, parameter)
    return weights


def computes_as_usual(module: Any) -> bool:
    """Whether a linear layer, table or convolution computes what torch's own does.

    Its quantized form does that and no more. A subclass may scale a table (BART), shift what is
    looked up in it, or normalise a kernel before it is used (BiT): such a one stays float.
    """
    kind: Any = next(each for each in QUANTIZABLE if isinstance(module, each))
    if type(module).forward is kind.forward:
        return True
    example = example_for(module)
    try:
        with torch.no_grad():
            return torch.equal(module(example), kind.forward(module, example))
    # A forward that takes something else than its base class.
    except (TypeError, ValueError, IndexError, RuntimeError, AttributeError, AssertionError):
        return False


def example_for(module: Any) -> Tensor:
    """Something that a linear layer, table or convolution can read, on its device."""
    if isinstance(module, nn.Embedding):
        return torch.arange(2, device=module.weight.device).unsqueeze(0) % module.num_embeddings
    shape = [1, module.weight.shape[1]]
    if isinstance(module, CONVOLUTIONS):
        # Grouped kernels hold a part of the channels; a map is as large as a dilated kernel.
        sides = [d * k for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        shape = [1, module.in_channels, *sides]
    values = torch.arange(math.prod(shape), dtype=torch.float32, device=module.weight.device)
    return values.reshape(shape).sin().to(module.weight.dtype)


def chosen_weights(weights: Mapping[str, Weight], pattern: str) -> list[str]:
    """The names of the weights that a pattern names, by themselves or by their module."""
    # A pattern that names an LSTM means all its matrices; one of them has a name of its own.
    matches = []
    for name, weight in weights.items():
        is_named = fnmatch.fnmatchcase(name, pattern)
        if is_named or fnmatch.fnmatchcase(weight.owner, pattern):
            matches.append(name)
    return matches


def plan_schemes(model: nn.Module, quantize: Quantize, activations: str) -> dict[str, Scheme]:
    """The scheme of each weight that is quantized, by its name.

    Args:
        model: in float.
        quantize: the recipe's section, whose patterns are followed.
        activations: what modules read where no pattern says otherwise.

    Raises:
        ValueError: a pattern matches no module, or a weight cannot have its scheme.
    """
    weights = quantizable_weights(model)
    base = Scheme(
        weights=quantize.weights,
        activations=activations,
        group=quantize.group,
        scale=quantize.scale,
    )
    schemes = dict.fromkeys(weights, base)
    # `keep_float` comes last, so that it wins over `modules`.
    patterns = {**quantize.modules, **dict.fromkeys(quantize.keep_float, FLOAT)}
    others = other_modules(model, weights)
    for pattern, scheme in patterns.items():
        # A norm may be named: it stays float, whatever the pattern asks.
        matches = chosen_weights(weights, pattern)
        unquantizable = fnmatch.filter(others, pattern)
        if not matches and not unquantizable:
            owners = dict.fromkeys(weight.owner for weight in weights.values())
            suggestion = wording.suggest(pattern, owners)
            raise ValueError(f"quantize: `{pattern}` matches no module. {suggestion}")
        if scheme.weights != "float":
            asked = {name: others[name] for name in unquantizable}
            check_asked(pattern, not matches, asked, quantize.keep_float)
        schemes |= dict.fromkeys(matches, scheme)
    # Checked at the end, since a later pattern may mend what an earlier one asks.
    check_tied(weights, schemes)
    check_schemes(weights, schemes, quantize)
    return {name: scheme for name, scheme in schemes.items() if scheme.weights != "float"}


def other_modules(model: nn.Module, weights: Mapping[str, Weight]) -> dict[str, nn.Module]:
    """The modules with parameters of their own, none of which can be quantized, by name."""
    owners = {weight.owner for weight in weights.values()}
    others = {}
    for name, module in model.named_modules():
        has_parameters = any(True for _ in module.parameters(recurse=False))
        if has_parameters and name not in owners:
            others[name] = module
    return others


def check_asked(
    pattern: str,
    is_only: bool,
    modules: dict[str, nn.Module],
    keep_float: Sequence[str],
) -> None:
    """Refuse a pattern that asks for what cannot be quantized.

    `modules` are those among its matches. Norms and the like are refused where the pattern names
    them alone (`is_only`): a wide pattern meets them by chance. Matrices always are.

    Raises:
        ValueError: with the module's name and type.
    """
    for name, module in modules.items():
        # Whoever keeps it in float knows that it is.
        if any(fnmatch.fnmatch(name, kept) for kept in keep_float):
            continue
        if is_only or has_matrix(module):
            choices = ", ".join(kind.__name__ for kind in QUANTIZABLE + RECURRENT)
            raise ValueError(
                f"quantize.modules: `{pattern}` asks for `{name}`, of the type "
                f"{type(module).__name__}, whose weights cannot be quantized. What can: "
                f"{choices}. Leave it out, or name it in `keep_float`"
            )


def has_matrix(module: nn.Module) -> bool:
    """Whether the module itself holds a weight of two axes or more."""
    for key, parameter in module.named_parameters(recurse=False):
        if key.startswith("weight") and parameter.ndim > 1:
            return True
    return False


def check_tied(weights: Mapping[str, Weight], schemes: dict[str, Scheme]) -> None:
    """Refuse a plan that stores one weight, which several modules share, in two ways.

    Raises:
        ValueError: with the names and schemes of both.
    """
    # The file holds a shared weight once, so its codes must serve all who read it.
    first_holder: dict[int, str] = {}
    for name, weight in weights.items():
        other = first_holder.setdefault(id(weight.tensor), name)
        stored = storage(schemes[name])
        stored_elsewhere = storage(schemes[other])
        if stored != stored_elsewhere:
            raise ValueError(
                f"quantize: `{name}` and `{other}` share one weight, so its `weights`, `group` and "
                f"`scale` cannot be {stored} for one and {stored_elsewhere} for the other. Give "
                "both the same scheme, or keep both float"
            )


def storage(scheme: Scheme) -> str:
    """What a scheme says of the stored weight: its format, its group and its scales."""
    return f"{scheme.weights}, {scheme.group}, {scheme.scale}"


def check_schemes(
    weights: Mapping[str, Weight],
    schemes: dict[str, Scheme],
    quantize: Quantize,
) -> None:
    """Refuse schemes that a weight, or the recipe's rounding, cannot have.

    Raises:
        ValueError: with the name of the weight.
    """
    rounding_name = quantize.rounding_name
    rounding = registry.create("roundings", rounding_name, quantize.options)
    for name, scheme in schemes.items():
        check_module(name, weights[name], scheme)
        if scheme.group is not None and scheme.weights != "float":
            check_group(name, weights[name], scheme.group, scheme.activations)
        if problem := mismatch(rounding, scheme.weights):
            raise ValueError(f"quantize: `{name}`: `{rounding_name}` {problem}")


def reads_by_codes(module: nn.Module) -> bool:
    """Whether a kernel multiplies codes of what the module reads."""
    # A table reads ids. The products of an LSTM or GRU stay float (`recurrent`).
    return not isinstance(module, (nn.Embedding, *RECURRENT))


def check_module(name: str, weight: Weight, scheme: Scheme) -> None:
    """Refuse a scheme that the type or the settings of a module rule out.

    Raises:
        ValueError: with the name of the weight, and what to write instead.
    """
    module = weight.module
    if scheme.activations.endswith("-dynamic") and isinstance(module, CONVOLUTIONS):
        raise ValueError(
            f"quantize: `{name}` is a convolution; its activations can be uint8 or float, "
            f"not {scheme.activations}"
        )
    # What stays float can be anything.
    if scheme.weights == "float":
        return
    if isinstance(module, CONVOLUTIONS) and module.padding_mode != "zeros":
        raise ValueError(
            f"quantize: `{name}` pads with `{module.padding_mode}`, and integers know zeros "
            "alone. Name it in `keep_float`"
        )
    if isinstance(module, nn.LSTM) and module.proj_size:
        raise ValueError(
            f"quantize: `{weight.owner}` is an LSTM with a projection (proj_size), which no graph "
            "holds. Name it in `keep_float`"
        )
    is_linear = isinstance(module, nn.Linear) or is_transposed(module)
    if scheme.scale == "float16" and not is_linear and not isinstance(module, nn.Embedding):
        raise ValueError(
            f"quantize: `{name}` is of the type {type(module).__name__}; scales of float16 are "
            "those of linear layers and tables. Name it in `keep_float`, or leave `scale` out"
        )
    is_floating = GRIDS[scheme.weights].is_floating
    if is_floating and scheme.activations != "float" and reads_by_codes(module):
        raise ValueError(
            f"quantize: `{name}`: no integer product takes weights of {scheme.weights}. Quantize "
            "its weights alone (activations: float), which makes it smaller, not faster, or take "
            "int8"
        )


def check_group(name: str, weight: Weight, group: int, activations: str) -> None:
    """Refuse groups of values that the weight cannot be cut into, or that no kernel reads.

    Raises:
        ValueError: with the name of the weight, and what fits.
    """
    width = weight.tensor[0].numel()
    if width % group:
        # Multiples of 8 alone, so that the list fits a message.
        fitting = [str(size) for size in range(8, width + 1, 8) if width % size == 0]
        raise ValueError(
            f"quantize: `{name}`: {width} weights a channel are not whole groups of {group}. "
            f"Fitting: {some(fitting) or 'none'}"
        )
    # Of int8-dynamic each group of what is read has a scale too: llama.cpp multiplies such.
    has_kernel = activations in ("float", "int8-dynamic")
    if not has_kernel and reads_by_codes(weight.module):
        raise ValueError(
            f"quantize: `{name}`: no product of {activations} takes a scale for each group of "
            "weights. Leave `group` out, or quantize its weights alone (activations: float), which "
            "makes it smaller, not faster"
        )
