"""A model to its quantized form: `prepare` swaps modules (before training), `calibrate` fits the ranges, `convert` leaves integers (after).

Nothing is traced. One forward with hooks shows which modules read the same tensor (they share its quantizer), which batch norm follows which
convolution
(it is folded in), and where a convolution's output is quantized: after its norm and its ReLU, since that is where runtimes fuse.
"""

import copy
import fnmatch
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from limbeck import registry
from limbeck.quant.fake import FakeQuantizer
from limbeck.quant.formats import GRIDS
from limbeck.quant.integer import CONVERTED, ActivationQuantizer
from limbeck.quant.swap import Quantized, QuantizedConv2d, QuantizedEmbedding, QuantizedLinear, Then
from limbeck.ranges import Range
from limbeck.recipe import Quantize, Scheme

QUANTIZABLE = (nn.Linear, nn.Embedding, nn.Conv2d)


@dataclass
class Flow:
    """Who reads and who makes which tensor, from one forward: `reads` and `makes` map a module's name to a tensor's number."""

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
    base = Scheme(weights=quantize.weights, activations=activations)
    kept = {pattern: Scheme(weights="float", activations="float") for pattern in quantize.keep_float}
    schemes = dict.fromkeys(found, base)
    for pattern, scheme in {**quantize.modules, **kept}.items():
        matches = fnmatch.filter(found, pattern)
        if not matches:
            raise ValueError(f"quantize: `{pattern}` matches no module. {registry.suggest(pattern, found)}")
        schemes |= dict.fromkeys(matches, scheme)
    for name, scheme in schemes.items():
        if scheme.activations == "uint8-dynamic" and isinstance(found[name], nn.Conv2d):
            raise ValueError(f"quantize: `{name}` is a convolution; its activations can be uint8 or float, not uint8-dynamic")
    return {name: scheme for name, scheme in schemes.items() if scheme.weights != "float"}


def prepare(model: nn.Module, schemes: dict[str, Scheme], range_name: str, forward: Callable[[nn.Module], Any]) -> nn.Module:
    """Swap the planned modules of `model`, in place; `forward(model)` runs one batch, to see who reads what. Ranges are not fitted yet."""
    range_class = registry.load("ranges", range_name)
    flow = watch(model, forward)
    made = {tensor: name for name, tensor in flow.makes.items()}
    outputs = output_places(model, flow, schemes, range_class)
    inputs: dict[int, FakeQuantizer] = {}
    modules = dict(model.named_modules())
    for name, scheme in schemes.items():
        swapped = swap(model, name, flow, range_class)
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


def swap(model: nn.Module, name: str, flow: Flow, range_class: type[Range]) -> Quantized:
    """Put the quantized form of the module `name` in its place; a convolution takes its batch norm along."""
    module = model.get_submodule(name)
    assert isinstance(module, QUANTIZABLE)
    quantizer = FakeQuantizer(GRIDS["int8"], range_class, groups=len(module.weight))
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
    """Where a convolution's output is quantized: its own name, or that of the norm or ReLU it runs into; with a fresh quantizer each."""
    places = {}
    for name, scheme in schemes.items():
        if isinstance(model.get_submodule(name), nn.Conv2d) and scheme.activations == "uint8":
            last = flow.reader(model, name, (nn.BatchNorm2d,)) or name
            last = flow.reader(model, last, (nn.ReLU, nn.ReLU6)) or last
            places[last] = FakeQuantizer(GRIDS["uint8"], range_class)
    return places


def watch(model: nn.Module, forward: Callable[[nn.Module], Any]) -> Flow:
    """Run one batch in eval mode and note, for every leaf module, which tensor it reads and which it makes."""
    flow = Flow()
    tensors: list[torch.Tensor] = []  # kept alive, so that no two share an id
    numbers: dict[int, int] = {}

    def number(value: Any, *, fresh: bool = False) -> int:
        tensors.append(value)
        if fresh or id(value) not in numbers:
            numbers[id(value)] = len(tensors)
        return numbers[id(value)]

    def hook_for(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if inputs and isinstance(inputs[0], torch.Tensor) and isinstance(output, torch.Tensor):
                flow.reads[name] = number(inputs[0])
                flow.makes[name] = number(output, fresh=output is inputs[0])  # written in place: other values from here on

        return hook

    leaves = [(name, module) for name, module in model.named_modules() if not any(module.children())]
    handles = [module.register_forward_hook(hook_for(name)) for name, module in leaves]
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
