"""A model to its quantized form: `prepare` swaps modules (before training), `calibrate` fits the ranges, `convert` leaves integers (after).

Nothing is traced. One forward with hooks shows which modules read the same tensor (they share its quantizer), which batch norm follows which
convolution (it is folded in), and where a tensor is quantized. Runtimes fuse a convolution, and likewise an addition, between
quantized tensors: what a convolution makes is quantized after its norm and its ReLU, and what one or a pool reads by the module that makes it (a
residual block, say), so that a shortcut beside it reads the same integers. What a linear layer reads is quantized where it is read: the residual
stream of a transformer stays float.
"""

import copy
import fnmatch
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from limbeck import data, registry
from limbeck.quant.fake import FakeQuantizer
from limbeck.quant.formats import GRIDS
from limbeck.quant.integer import CONVERTED, ActivationQuantizer
from limbeck.quant.swap import Quantized, QuantizedConv2d, QuantizedEmbedding, QuantizedLinear, Then
from limbeck.ranges import Range
from limbeck.recipe import Quantize, Scheme

QUANTIZABLE = (nn.Linear, nn.Embedding, nn.Conv2d)
POOLS = (nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.MaxPool2d)


@dataclass
class Flow:
    """Who reads and who makes which tensor, from one forward: `reads` (leaves) and `makes` (the innermost module) map a name to a tensor's number."""

    reads: dict[str, int] = field(default_factory=dict)
    makes: dict[str, int] = field(default_factory=dict)

    def reader(self, model: nn.Module, name: str, kinds: tuple[type[nn.Module], ...]) -> str | None:
        """The module of one of `kinds` that reads what the module `name` makes, where it is the only reader that is a module."""
        readers = [other for other, tensor in self.reads.items() if tensor == self.makes.get(name)]
        fits = len(readers) == 1 and isinstance(model.get_submodule(readers[0]), kinds)
        return readers[0] if fits else None


def plan(model: nn.Module, quantize: Quantize, activations: str) -> dict[str, Scheme]:
    """Module name to scheme, for every module that can be quantized. Raises ValueError for a pattern that matches none of them."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, QUANTIZABLE)}
    base = Scheme(weights=quantize.weights, activations=activations, group=quantize.group)
    kept = {pattern: Scheme(weights="float", activations="float") for pattern in quantize.keep_float}
    schemes = dict.fromkeys(found, base)
    for pattern, scheme in {**quantize.modules, **kept}.items():
        matches = fnmatch.filter(found, pattern)
        if not matches:
            raise ValueError(f"quantize: `{pattern}` matches no module. {registry.suggest(pattern, found)}")
        schemes |= dict.fromkeys(matches, scheme)
    for name, scheme in schemes.items():
        check_scheme(name, found[name], scheme)
    return {name: scheme for name, scheme in schemes.items() if scheme.weights != "float"}


def check_scheme(name: str, module: nn.Module, scheme: Scheme) -> None:
    """Raises ValueError for a scheme that the module cannot have."""
    if scheme.activations == "uint8-dynamic" and isinstance(module, nn.Conv2d):
        raise ValueError(f"quantize: `{name}` is a convolution; its activations can be uint8 or float, not uint8-dynamic")
    if scheme.weights == "float":
        return
    if GRIDS[scheme.weights].is_floating and scheme.activations != "float" and not isinstance(module, nn.Embedding):
        raise ValueError(
            f"quantize: `{name}`: no integer product takes weights of {scheme.weights}. Quantize its weights alone (activations: float), which makes "
            "it smaller, not faster, or take int8"
        )
    if scheme.group is None:
        return
    assert isinstance(module, QUANTIZABLE)
    width = module.weight[0].numel()
    if width % scheme.group:
        fitting = [str(size) for size in range(8, width + 1, 8) if width % size == 0]
        raise ValueError(
            f"quantize: `{name}`: {width} weights a channel are not whole groups of {scheme.group}. Fitting: {data.some(fitting) or 'none'}"
        )
    if scheme.activations != "float" and not isinstance(module, nn.Embedding):
        raise ValueError(
            f"quantize: `{name}`: no integer product takes a scale for each group of weights. Leave `group` out, or quantize its weights alone "
            "(activations: float), which makes it smaller, not faster"
        )


def prepare(model: nn.Module, schemes: dict[str, Scheme], range_name: str, forward: Callable[[nn.Module], Any]) -> nn.Module:
    """Swap the planned modules of `model`, in place; `forward(model)` runs one batch, to see who reads what. Ranges are not fitted yet."""
    range_class = registry.load("ranges", range_name)
    flow = watch(model, forward)
    made = {tensor: name for name, tensor in flow.makes.items()}
    outputs = output_places(model, flow, schemes, range_class)
    inputs: dict[int, FakeQuantizer] = {}
    modules = dict(model.named_modules())
    for name, scheme in schemes.items():
        weight = modules[name].weight
        groups = weight.numel() // scheme.group if scheme.group else len(weight)
        swapped = swap(model, name, flow, FakeQuantizer(GRIDS[scheme.weights], range_class, groups))
        tensor = flow.reads.get(name)
        if isinstance(modules[name], nn.Embedding) or tensor is None:
            continue
        swapped.is_dynamic = scheme.activations == "uint8-dynamic"
        if scheme.activations == "uint8":
            maker = outputs.get(made.get(tensor, ""))
            swapped.reads_codes = maker is not None
            swapped.input = maker or inputs.setdefault(tensor, FakeQuantizer(GRIDS["uint8"], range_class))
    for name, quantizer in outputs.items():
        replace(model, name, Then(model.get_submodule(name), quantizer))
    return model


def swap(model: nn.Module, name: str, flow: Flow, quantizer: FakeQuantizer) -> Quantized:
    """Put the form of the module `name` whose weight `quantizer` quantizes in its place; a convolution takes its batch norm along."""
    module = model.get_submodule(name)
    assert isinstance(module, QUANTIZABLE)
    swapped: Quantized
    if isinstance(module, nn.Linear):
        swapped = QuantizedLinear(module, quantizer)
    elif isinstance(module, nn.Embedding):
        swapped = QuantizedEmbedding(module, quantizer)
    else:
        norm_name = flow.reader(model, name, (nn.BatchNorm2d,))
        norm = model.get_submodule(norm_name) if norm_name else None
        assert norm is None or isinstance(norm, nn.BatchNorm2d)
        swapped = QuantizedConv2d(module, norm, quantizer)
        if norm_name:
            replace(model, norm_name, nn.Identity())
    swapped.train(model.training)
    replace(model, name, swapped)
    return swapped


def output_places(model: nn.Module, flow: Flow, schemes: dict[str, Scheme], range_class: type[Range]) -> dict[str, FakeQuantizer]:
    """The modules whose output is quantized, each with its quantizer: what a convolution leads to, and what one or a pool reads.

    The largest of some values of a grid lies on that grid: a maximum pool shares the quantizer of what it reads.
    """
    made = {tensor: name for name, tensor in flow.makes.items()}
    static = [name for name, scheme in schemes.items() if scheme.activations == "uint8" and isinstance(model.get_submodule(name), nn.Conv2d)]
    pools = [name for name in flow.reads if static and isinstance(model.get_submodule(name), POOLS)]
    tensors = [flow.reads[name] for name in static + pools] + [flow.makes[last_of(model, flow, name)] for name in static]
    places: dict[str, FakeQuantizer] = {}
    for name in sorted({made[tensor] for tensor in tensors if tensor in made}, key=list(flow.makes).index):
        module = model.get_submodule(name)
        source = made.get(flow.reads.get(name, -1), "") if isinstance(module, nn.MaxPool2d) else ""
        bound = module.max_val if isinstance(module, nn.ReLU6) else None
        places[name] = places[source] if source in places else FakeQuantizer(GRIDS["uint8"], range_class, bound=bound)
    return places


def last_of(model: nn.Module, flow: Flow, name: str) -> str:
    """The norm or the ReLU that a convolution runs into, or the convolution itself."""
    last = flow.reader(model, name, (nn.BatchNorm2d,)) or name
    return flow.reader(model, last, (nn.ReLU, nn.ReLU6)) or last


def watch(model: nn.Module, forward: Callable[[nn.Module], Any]) -> Flow:
    """Run one batch in eval mode and note which tensor every leaf reads, and which module makes it; one that hands on what it reads makes nothing.

    Nor does one that is called with named inputs, which `Then` does not take.
    """
    flow = Flow()
    tensors: list[torch.Tensor] = []  # kept alive, so that no two share an id
    numbers: dict[tuple[int, int], int] = {}
    leaves = {name for name, module in model.named_modules() if not any(module.children())}

    def number(value: torch.Tensor) -> int:
        tensors.append(value)
        return numbers.setdefault((id(value), value._version), len(tensors))  # written in place: other values from here on

    def before(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if inputs and isinstance(inputs[0], torch.Tensor):
                flow.reads[name] = number(inputs[0])

        return hook

    def after(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            if isinstance(output, torch.Tensor) and not named and number(output) not in {flow.reads.get(name), *flow.makes.values()}:
                flow.makes[name] = number(output)
            if name not in leaves or name not in flow.makes:
                flow.reads.pop(name, None)

        return hook

    named = [(name, module) for name, module in model.named_modules() if name]
    handles = [module.register_forward_pre_hook(before(name)) for name, module in named]
    handles += [module.register_forward_hook(after(name), with_kwargs=True) for name, module in named]
    was_training = model.training
    try:
        with torch.no_grad():
            forward(model.eval())
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return flow


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


def activation_quantizers(model: nn.Module) -> list[FakeQuantizer]:
    """Every activation quantizer once."""
    weights = {id(module.quantizer) for module in model.modules() if isinstance(module, Quantized)}
    return [module for module in model.modules() if isinstance(module, FakeQuantizer) and id(module) not in weights]


def convert(model: nn.Module) -> nn.Module:
    """A copy of a trained, quantized model whose quantized weights are int8 codes and nothing else."""
    for module in model.modules():
        if isinstance(module, Quantized):
            module.pair = None  # belongs to the last training step's graph
    converted = copy.deepcopy(model).eval()
    for name, module in list(converted.named_modules()):
        if isinstance(module, Quantized):
            replace(converted, name, CONVERTED[type(module)](module))
        elif isinstance(module, Then):
            module.quantizer = ActivationQuantizer(module.quantizer)  # type: ignore[assignment]
    return converted


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` where `name` stands."""
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)
