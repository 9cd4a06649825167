"""Which format each weight gets: patterns of module names to schemes, the last match wins."""

import fnmatch
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn

from limbeck.core import registry, wording
from limbeck.core.grids import GRIDS
from limbeck.core.wording import some
from limbeck.quantization.roundings import mismatch
from limbeck.recipe.model import Quantize, Scheme

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
QUANTIZABLE = (nn.Linear, nn.Embedding, *CONVOLUTIONS)
RECURRENT = (nn.LSTM, nn.GRU)


class Weight(NamedTuple):
    """A weight that can be quantized, and the module `owner` that holds it."""

    owner: str
    module: nn.Module
    tensor: torch.Tensor


def quantizable_weights(model: nn.Module) -> dict[str, Weight]:
    """Name to weight: the module's where it has one, with the parameter's own where it has several (LSTM, GRU)."""
    found: dict[str, Weight] = {}
    for name, module in model.named_modules():
        if isinstance(module, QUANTIZABLE):
            found[name] = Weight(name, module, module.weight)
        elif isinstance(module, RECURRENT):
            matrices = {
                key: parameter
                for key, parameter in module.named_parameters()
                if key.startswith("weight_")
            }
            found |= {
                f"{name}.{key}": Weight(name, module, parameter)
                for key, parameter in matrices.items()
            }
    return found


def chosen_weights(found: Mapping[str, Weight], pattern: str) -> list[str]:
    """The weights that a pattern names, by themselves or by their module."""
    return [
        name
        for name, weight in found.items()
        if fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(weight.owner, pattern)
    ]


def plan_schemes(model: nn.Module, quantize: Quantize, activations: str) -> dict[str, Scheme]:
    """Weight to scheme, for every one that can be quantized. Raises ValueError for a pattern that matches none of them."""
    found = quantizable_weights(model)
    owners = dict.fromkeys(weight.owner for weight in found.values())
    base = Scheme(weights=quantize.weights, activations=activations, group=quantize.group)
    kept = {
        pattern: Scheme(weights="float", activations="float") for pattern in quantize.keep_float
    }
    schemes = dict.fromkeys(found, base)
    others = {
        name: module
        for name, module in model.named_modules()
        if name not in owners and [*module.parameters(recurse=False)]
    }
    for pattern, scheme in {**quantize.modules, **kept}.items():
        matches = chosen_weights(found, pattern)
        if not matches and not fnmatch.filter(others, pattern):
            raise ValueError(
                f"quantize: `{pattern}` matches no module. {wording.suggest(pattern, owners)}"
            )
        if scheme.weights != "float":
            check_asked(
                pattern,
                not matches,
                {name: others[name] for name in fnmatch.filter(others, pattern)},
                quantize.keep_float,
            )
        schemes |= dict.fromkeys(matches, scheme)
    check_tied(found, schemes)
    rounding = registry.create("roundings", quantize.rounding_name, quantize.options)
    for name, scheme in schemes.items():
        check_scheme(name, found[name], scheme)
        if problem := mismatch(rounding, scheme.weights):
            raise ValueError(f"quantize: `{name}`: `{quantize.rounding_name}` {problem}")
    return {name: scheme for name, scheme in schemes.items() if scheme.weights != "float"}


def check_asked(
    pattern: str, is_only: bool, modules: dict[str, nn.Module], keep_float: Sequence[str]
) -> None:
    """Raises ValueError for a pattern that asks for what cannot be quantized: norms and the like where it `is_only` them, else matrices."""
    for name, module in modules.items():
        has_matrix = any(
            key.startswith("weight") and parameter.ndim > 1
            for key, parameter in module.named_parameters(recurse=False)
        )
        if (is_only or has_matrix) and not any(fnmatch.fnmatch(name, kept) for kept in keep_float):
            choices = ", ".join(kind.__name__ for kind in QUANTIZABLE + RECURRENT)
            raise ValueError(
                f"quantize.modules: `{pattern}` asks for `{name}`, of the type {type(module).__name__}, whose weights cannot be quantized. What can: "
                f"{choices}. Leave it out, or name it in `keep_float`"
            )


def check_tied(found: Mapping[str, Weight], schemes: dict[str, Scheme]) -> None:
    """Raises ValueError for modules that share a weight, and not what it is stored as."""
    first: dict[int, str] = {}
    for name, weight in found.items():
        other = first.setdefault(id(weight.tensor), name)
        own, others = ((schemes[each].weights, schemes[each].group) for each in (name, other))
        if own != others:
            raise ValueError(
                f"quantize: `{name}` and `{other}` share one weight, so its `weights` and `group` cannot be {own[0]}, {own[1]} for one and "
                f"{others[0]}, {others[1]} for the other. Give both the same scheme, or keep both float"
            )


def check_scheme(name: str, weight: Weight, scheme: Scheme) -> None:
    """Raises ValueError for a scheme that the weight cannot have."""
    module = weight.module
    multiplies = not isinstance(module, (nn.Embedding, *RECURRENT))  # what it reads by codes
    if scheme.activations == "uint8-dynamic" and isinstance(module, CONVOLUTIONS):
        raise ValueError(
            f"quantize: `{name}` is a convolution; its activations can be uint8 or float, not uint8-dynamic"
        )
    if scheme.weights == "float":
        return
    if isinstance(module, CONVOLUTIONS) and module.padding_mode != "zeros":
        raise ValueError(
            f"quantize: `{name}` pads with `{module.padding_mode}`, and integers know zeros alone. Name it in `keep_float`"
        )
    if isinstance(module, nn.LSTM) and module.proj_size:
        raise ValueError(
            f"quantize: `{weight.owner}` is an LSTM with a projection (proj_size), which no graph holds. Name it in `keep_float`"
        )
    if GRIDS[scheme.weights].is_floating and scheme.activations != "float" and multiplies:
        raise ValueError(
            f"quantize: `{name}`: no integer product takes weights of {scheme.weights}. Quantize its weights alone (activations: float), which makes "
            "it smaller, not faster, or take int8"
        )
    if scheme.group is None:
        return
    width = weight.tensor[0].numel()
    if width % scheme.group:
        fitting = [str(size) for size in range(8, width + 1, 8) if width % size == 0]
        raise ValueError(
            f"quantize: `{name}`: {width} weights a channel are not whole groups of {scheme.group}. Fitting: {some(fitting) or 'none'}"
        )
    if scheme.activations != "float" and multiplies:
        raise ValueError(
            f"quantize: `{name}`: no integer product takes a scale for each group of weights. Leave `group` out, or quantize its weights alone "
            "(activations: float), which makes it smaller, not faster"
        )
