"""A model to its quantized form: `prepare` swaps modules (before training), `calibrate` fits the ranges, `convert` leaves integers (after).

Nothing is traced. One forward with hooks shows which modules read the same tensor (they share its quantizer), which batch norm follows which
convolution (it is folded in), and where a tensor is quantized. Runtimes fuse a convolution, and likewise an addition, between
quantized tensors: what a convolution makes is quantized after its norm and its ReLU, and what one or a pool reads by the module that makes it (a
residual block, say), so that a shortcut beside it reads the same integers. What a linear layer reads is quantized where it is read: the residual
stream of a transformer stays float.
"""

import contextlib
import copy
import fnmatch
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from limbeck import data, registry
from limbeck.equalizers import Correction, Equalizer
from limbeck.progress import STEP, Meter, Progress, Tell, silent
from limbeck.quant.fake import FakeQuantizer
from limbeck.quant.flow import Flow, watch
from limbeck.quant.fold import norm_after
from limbeck.quant.formats import GRIDS
from limbeck.quant.integer import CONVERTED, ActivationQuantizer, Integer, gru, lstm
from limbeck.quant.recurrent import QuantizedMatrix, QuantizedRecurrence
from limbeck.quant.swap import (
    Quantized,
    QuantizedConv1d,
    QuantizedConv2d,
    QuantizedConvolution,
    QuantizedEmbedding,
    QuantizedLinear,
    Then,
    activation_quantizers,
    find,
)
from limbeck.ranges import Range
from limbeck.recipe import Quantize, Scheme
from limbeck.roundings import LayerRounding, Rounding, mismatch

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
QUANTIZABLE = (nn.Linear, nn.Embedding, *CONVOLUTIONS)
RECURRENT = (nn.LSTM, nn.GRU)
NORMED: dict[type[nn.Module], Any] = {nn.Linear: QuantizedLinear, nn.Conv1d: QuantizedConv1d, nn.Conv2d: QuantizedConv2d}
MOST_INPUTS = 16384  # positions that a layer is rounded for
MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d)
POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AvgPool1d, nn.AvgPool2d, *MAX_POOLS)


class Weight(NamedTuple):
    """A weight that can be quantized, and the module `owner` that holds it."""

    owner: str
    module: nn.Module
    tensor: torch.Tensor


def weights(model: nn.Module) -> dict[str, Weight]:
    """Name to weight: the module's where it has one, with the parameter's own where it has several (LSTM, GRU)."""
    found: dict[str, Weight] = {}
    for name, module in model.named_modules():
        if isinstance(module, QUANTIZABLE):
            found[name] = Weight(name, module, module.weight)
        elif isinstance(module, RECURRENT):
            matrices = {key: parameter for key, parameter in module.named_parameters() if key.startswith("weight_")}
            found |= {f"{name}.{key}": Weight(name, module, parameter) for key, parameter in matrices.items()}
    return found


def chosen(found: Mapping[str, Weight], pattern: str) -> list[str]:
    """The weights that a pattern names, by themselves or by their module."""
    return [name for name, weight in found.items() if fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(weight.owner, pattern)]


def plan(model: nn.Module, quantize: Quantize, activations: str) -> dict[str, Scheme]:
    """Weight to scheme, for every one that can be quantized. Raises ValueError for a pattern that matches none of them."""
    found = weights(model)
    owners = dict.fromkeys(weight.owner for weight in found.values())
    base = Scheme(weights=quantize.weights, activations=activations, group=quantize.group)
    kept = {pattern: Scheme(weights="float", activations="float") for pattern in quantize.keep_float}
    schemes = dict.fromkeys(found, base)
    others = {name: module for name, module in model.named_modules() if name not in owners and [*module.parameters(recurse=False)]}
    for pattern, scheme in {**quantize.modules, **kept}.items():
        matches = chosen(found, pattern)
        if not matches and not fnmatch.filter(others, pattern):
            raise ValueError(f"quantize: `{pattern}` matches no module. {registry.suggest(pattern, owners)}")
        if scheme.weights != "float":
            check_asked(pattern, not matches, {name: others[name] for name in fnmatch.filter(others, pattern)}, quantize.keep_float)
        schemes |= dict.fromkeys(matches, scheme)
    check_tied(found, schemes)
    rounding = registry.create("roundings", quantize.rounding_name, quantize.options)
    for name, scheme in schemes.items():
        check_scheme(name, found[name], scheme)
        if problem := mismatch(rounding, scheme.weights):
            raise ValueError(f"quantize: `{name}`: `{quantize.rounding_name}` {problem}")
    return {name: scheme for name, scheme in schemes.items() if scheme.weights != "float"}


def check_asked(pattern: str, is_only: bool, modules: dict[str, nn.Module], keep_float: Sequence[str]) -> None:
    """Raises ValueError for a pattern that asks for what cannot be quantized: norms and the like where it `is_only` them, else matrices."""
    for name, module in modules.items():
        has_matrix = any(key.startswith("weight") and parameter.ndim > 1 for key, parameter in module.named_parameters(recurse=False))
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
        raise ValueError(f"quantize: `{name}` is a convolution; its activations can be uint8 or float, not uint8-dynamic")
    if scheme.weights == "float":
        return
    if isinstance(module, CONVOLUTIONS) and module.padding_mode != "zeros":
        raise ValueError(f"quantize: `{name}` pads with `{module.padding_mode}`, and integers know zeros alone. Name it in `keep_float`")
    if isinstance(module, nn.LSTM) and module.proj_size:
        raise ValueError(f"quantize: `{weight.owner}` is an LSTM with a projection (proj_size), which no graph holds. Name it in `keep_float`")
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
            f"quantize: `{name}`: {width} weights a channel are not whole groups of {scheme.group}. Fitting: {data.some(fitting) or 'none'}"
        )
    if scheme.activations != "float" and multiplies:
        raise ValueError(
            f"quantize: `{name}`: no integer product takes a scale for each group of weights. Leave `group` out, or quantize its weights alone "
            "(activations: float), which makes it smaller, not faster"
        )


def components(settings: Quantize) -> dict[str, Any]:
    """The rounding and the rewrites that a recipe names, for `prepare` and `settle`."""
    assert settings.rounding is not None and settings.equalize is not None
    equalizers = [registry.create("equalizers", name, keys) for name, keys in settings.equalize.items()]
    return {"rounding": registry.create("roundings", settings.rounding, settings.options), "equalizers": equalizers}


def prepare(
    model: nn.Module,
    schemes: dict[str, Scheme],
    range_name: str,
    forward: Callable[[nn.Module], Any],
    *,
    rounding: Rounding | LayerRounding | None = None,
    equalizers: Iterable[Equalizer] = (),
) -> Flow:
    """Swap the planned modules of `model`, in place; `forward(model)` runs one batch, to see who reads what. Ranges are not fitted yet.

    Returns what it saw. A rounding by layer has its turn in `settle`, and until then the nearest level is taken.
    """
    range_class, by_value = registry.load("ranges", range_name), rounding if isinstance(rounding, Rounding) else None
    flow = watch(model, forward)
    made = {tensor: name for name, tensor in flow.makes.items()}
    outputs = output_places(model, flow, schemes, range_class)
    inputs: dict[int, FakeQuantizer] = {}
    found = weights(model)
    holders = Counter(id(found[name].tensor) for name in schemes)
    quantizers: dict[int, FakeQuantizer] = {}
    for name, scheme in schemes.items():
        weight = found[name].tensor
        groups = weight.numel() // scheme.group if scheme.group else len(weight)
        quantizer = quantizers.setdefault(id(weight), FakeQuantizer(GRIDS[scheme.weights], range_class, groups, rounding=by_value))
        swapped = swap(model, name, flow, quantizer, is_tied=holders[id(weight)] > 1)
        tensor = flow.reads.get(name)
        if isinstance(found[name].module, nn.Embedding) or tensor is None:
            continue
        swapped.is_dynamic = scheme.activations == "uint8-dynamic"
        if scheme.activations == "uint8":
            maker = outputs.get(made.get(tensor, ""))
            swapped.reads_codes = maker is not None
            swapped.input = maker or inputs.setdefault(tensor, FakeQuantizer(GRIDS["uint8"], range_class))
    for name, quantizer in outputs.items():
        replace(model, name, Then(model.get_submodule(name), quantizer))
    for equalizer in equalizers:
        equalizer.arrange(model, flow)
    return flow


def swap(model: nn.Module, name: str, flow: Flow, quantizer: FakeQuantizer, *, is_tied: bool) -> Quantized:
    """Put the form of the module `name` whose weight `quantizer` quantizes in its place.

    A product takes its batch norm along, unless the weight `is_tied` to another module's, which knows no norm.
    """
    owner, _, key = name.rpartition(".")
    holder: Any = model.get_submodule(owner)
    if isinstance(holder, RECURRENT):
        replace(model, owner, holder := QuantizedRecurrence(holder))
    module = getattr(holder, key)
    swapped: Quantized
    if isinstance(module, nn.Parameter):
        delattr(holder, key)  # a module cannot take the place of a parameter otherwise
        swapped = QuantizedMatrix(module, quantizer)
    elif isinstance(module, nn.Embedding):
        swapped = QuantizedEmbedding(module, quantizer)
    else:
        norm_name = None if is_tied else norm_after(model, flow, name)
        norm: Any = model.get_submodule(norm_name) if norm_name else None
        swapped = next(form for kind, form in NORMED.items() if isinstance(module, kind))(module, quantizer, norm)
        if norm_name:
            replace(model, norm_name, nn.Identity())
    swapped.is_tied = is_tied
    swapped.train(model.training)
    replace(model, name, swapped)
    return swapped


def output_places(model: nn.Module, flow: Flow, schemes: dict[str, Scheme], range_class: type[Range]) -> dict[str, FakeQuantizer]:
    """The modules whose output is quantized, each with its quantizer: what a convolution leads to, and what one or a pool reads.

    The largest of some values of a grid lies on that grid: a maximum pool shares the quantizer of what it reads.
    """
    made = {tensor: name for name, tensor in flow.makes.items()}
    found = weights(model)
    static = [name for name, scheme in schemes.items() if scheme.activations == "uint8" and isinstance(found[name].module, CONVOLUTIONS)]
    pools = [name for name in flow.reads if static and isinstance(model.get_submodule(name), POOLS)]
    tensors = [flow.reads[name] for name in static + pools] + [flow.makes[last_of(model, flow, name)] for name in static]
    places: dict[str, FakeQuantizer] = {}
    for name in sorted({made[tensor] for tensor in tensors if tensor in made}, key=list(flow.makes).index):
        module = model.get_submodule(name)
        source = made.get(flow.reads.get(name, -1), "") if isinstance(module, MAX_POOLS) else ""
        bound = module.max_val if isinstance(module, nn.ReLU6) else None
        places[name] = places[source] if source in places else FakeQuantizer(GRIDS["uint8"], range_class, bound=bound)
    return places


def last_of(model: nn.Module, flow: Flow, name: str) -> str:
    """The norm or the ReLU that a convolution runs into, or the convolution itself."""
    last = norm_after(model, flow, name) or name
    return flow.reader(model, last, (nn.ReLU, nn.ReLU6)) or last


def calibrate(model: nn.Module, forwards: Iterable[Callable[[nn.Module], Any]]) -> None:
    """Fit the ranges: weights as they stand, activations on the float activations of the given batches. The mode is kept."""
    was_training = model.training
    model.eval()
    activations = activation_quantizers(model)
    for module in model.modules():
        if isinstance(module, FakeQuantizer):
            module.calibrated.fill_(False)
    for quantizer in activations:
        quantizer.begin()
    with torch.no_grad():
        for forward in forwards:
            forward(model)
        for quantizer in activations:
            quantizer.finish()
        for module in model.modules():
            if isinstance(module, Quantized):
                module.calibrate_weight()
    model.train(was_training)


def settle(
    model: nn.Module,
    flow: Flow,
    forwards: Sequence[Callable[[nn.Module], Any]],
    *,
    rounding: Rounding | LayerRounding | None = None,
    equalizers: Iterable[Equalizer] = (),
    tell: Tell = silent,
) -> None:
    """Quantize a prepared, trained model: rewrite it, fit its ranges, round its layers one after the other, correct what is left."""
    chosen = list(equalizers)
    corrections = [equalizer for equalizer in chosen if isinstance(equalizer, Correction)]
    for equalizer in chosen:
        if not isinstance(equalizer, Correction):
            equalizer.apply(model, flow, forwards)
    for correction in corrections:
        correction.observe(model, flow, forwards)
    calibrate(model, forwards)
    if isinstance(rounding, LayerRounding):
        round_layers(model, flow, forwards, rounding, tell)
    for correction in corrections:
        correction.apply(model, flow, forwards)


def round_layers(model: nn.Module, flow: Flow, forwards: Sequence[Callable[[nn.Module], Any]], rounding: LayerRounding, tell: Tell) -> None:
    """Round each layer for the inputs that reach it through the layers before it, already rounded; one layer's inputs are held at a time.

    A weight that two modules share meets the inputs of both, and keeps to its nearest levels.
    """
    found = {name: find(model, name) for name in flow.reads}
    layers = [name for name, layer in found.items() if isinstance(layer, (QuantizedLinear, QuantizedConvolution)) and not layer.is_tied]
    meter = Meter({STEP: float(len(layers))})
    for done, name in enumerate(layers, 1):
        layer = find(model, name)
        assert isinstance(layer, Quantized)
        layer.round_with(rounding, inputs_of(model, layer, forwards))
        meter.advance(STEP, 1)
        tell(Progress(done, len(layers), meter.time_left_s()))


class _Reached(Exception):
    """A forward has come to the layer whose inputs are wanted: what comes after it is not computed."""


def inputs_of(model: nn.Module, layer: Quantized, forwards: Sequence[Callable[[nn.Module], Any]]) -> torch.Tensor:
    """(N, D) what a layer reads on the calibration rows, as the integer kernel will see it: MOST_INPUTS positions at most, as many of each batch."""
    found: list[torch.Tensor] = []
    share = max(1, MOST_INPUTS // len(forwards))

    def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        positions = layer.positions(layer.read(inputs[0])).float()
        found.append(positions[:: -(-len(positions) // share)].clone())
        raise _Reached

    handle = layer.register_forward_pre_hook(hook)
    try:
        with torch.no_grad():
            for forward in forwards:
                with contextlib.suppress(_Reached):
                    forward(model.eval())
    finally:
        handle.remove()
    return torch.cat(found)


def convert(model: nn.Module) -> nn.Module:
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


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` where `name` stands."""
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)
