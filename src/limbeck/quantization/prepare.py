"""A model to its quantized form: `prepare` swaps modules (before training), `calibrate` fits the ranges, `convert` leaves integers (after).

Nothing is traced. One forward with hooks shows which modules read the same tensor (they share its quantizer), which batch norm follows which
convolution (it is folded in), and where a tensor is quantized. Runtimes fuse a convolution, and likewise an addition, between
quantized tensors: what a convolution makes is quantized after its norm and its ReLU, and what one or a pool reads by the module that makes it (a
residual block, say), so that a shortcut beside it reads the same integers. What a linear layer reads is quantized where it is read: the residual
stream of a transformer stays float.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from limbeck.core import registry
from limbeck.core.grids import GRIDS
from limbeck.models.dataflow import Flow, watch
from limbeck.quantization.equalizers import Equalizer
from limbeck.quantization.fake import FakeQuantizer
from limbeck.quantization.fold import norm_after
from limbeck.quantization.plan import CONVOLUTIONS, RECURRENT, quantizable_weights
from limbeck.quantization.ranges import Range
from limbeck.quantization.recurrent import QuantizedMatrix, QuantizedRecurrence
from limbeck.quantization.roundings import LayerRounding, Rounding
from limbeck.quantization.swap import (
    Quantized,
    QuantizedConv1d,
    QuantizedConv2d,
    QuantizedEmbedding,
    QuantizedLinear,
    QuantizedOutput,
)
from limbeck.recipe.model import Quantize, Scheme

NORMED: dict[type[nn.Module], Any] = {
    nn.Linear: QuantizedLinear,
    nn.Conv1d: QuantizedConv1d,
    nn.Conv2d: QuantizedConv2d,
}
MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d)
POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AvgPool1d, nn.AvgPool2d, *MAX_POOLS)


def quantization_components(settings: Quantize) -> dict[str, Any]:
    """The rounding and the rewrites that a recipe names, for `prepare` and `settle`."""
    assert settings.rounding is not None and settings.equalize is not None
    equalizers = [
        registry.create("equalizers", name, keys) for name, keys in settings.equalize.items()
    ]
    return {
        "rounding": registry.create("roundings", settings.rounding, settings.options),
        "equalizers": equalizers,
    }


def prepare_model(
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
    range_class, by_value = (
        registry.load("ranges", range_name),
        rounding if isinstance(rounding, Rounding) else None,
    )
    flow = watch(model, forward)
    made = {tensor: name for name, tensor in flow.makes.items()}
    outputs = output_places(model, flow, schemes, range_class)
    inputs: dict[int, FakeQuantizer] = {}
    found = quantizable_weights(model)
    holders = Counter(id(found[name].tensor) for name in schemes)
    quantizers: dict[int, FakeQuantizer] = {}
    for name, scheme in schemes.items():
        weight = found[name].tensor
        groups = weight.numel() // scheme.group if scheme.group else len(weight)
        quantizer = quantizers.setdefault(
            id(weight),
            FakeQuantizer(
                GRIDS[scheme.weights],
                range_class,
                groups,
                rounding=by_value,
                device=weight.device,
            ),
        )
        swapped = swap(model, name, flow, quantizer, is_tied=holders[id(weight)] > 1)
        tensor = flow.reads.get(name)
        if isinstance(found[name].module, nn.Embedding) or tensor is None:
            continue
        swapped.is_dynamic = scheme.activations == "uint8-dynamic"
        if scheme.activations == "uint8":
            maker = outputs.get(made.get(tensor, ""))
            swapped.reads_codes = maker is not None
            swapped.input = maker or inputs.setdefault(
                tensor, FakeQuantizer(GRIDS["uint8"], range_class, device=weight.device)
            )
    for name, quantizer in outputs.items():
        replace(model, name, QuantizedOutput(model.get_submodule(name), quantizer))
    for equalizer in equalizers:
        equalizer.arrange(model, flow)
    return flow


def swap(
    model: nn.Module, name: str, flow: Flow, quantizer: FakeQuantizer, *, is_tied: bool
) -> Quantized:
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
        swapped = next(form for kind, form in NORMED.items() if isinstance(module, kind))(
            module, quantizer, norm
        )
        if norm_name:
            replace(model, norm_name, nn.Identity())
    swapped.is_tied = is_tied
    swapped.train(model.training)
    replace(model, name, swapped)
    return swapped


def output_places(
    model: nn.Module, flow: Flow, schemes: dict[str, Scheme], range_class: type[Range]
) -> dict[str, FakeQuantizer]:
    """The modules whose output is quantized, each with its quantizer: what a convolution leads to, and what one or a pool reads.

    The largest of some values of a grid lies on that grid: a maximum pool shares the quantizer of what it reads.
    """
    made = {tensor: name for name, tensor in flow.makes.items()}
    found = quantizable_weights(model)
    static = [
        name
        for name, scheme in schemes.items()
        if scheme.activations == "uint8" and isinstance(found[name].module, CONVOLUTIONS)
    ]
    pools = [name for name in flow.reads if static and isinstance(model.get_submodule(name), POOLS)]
    tensors = [flow.reads[name] for name in static + pools] + [
        flow.makes[last_of(model, flow, name)] for name in static
    ]
    places: dict[str, FakeQuantizer] = {}
    for name in sorted(
        {made[tensor] for tensor in tensors if tensor in made}, key=list(flow.makes).index
    ):
        module = model.get_submodule(name)
        source = made.get(flow.reads.get(name, -1), "") if isinstance(module, MAX_POOLS) else ""
        bound = module.max_val if isinstance(module, nn.ReLU6) else None
        places[name] = (
            places[source]
            if source in places
            else FakeQuantizer(
                GRIDS["uint8"],
                range_class,
                bound=bound,
                device=next(model.parameters()).device,
            )
        )
    return places


def last_of(model: nn.Module, flow: Flow, name: str) -> str:
    """The norm or the ReLU that a convolution runs into, or the convolution itself."""
    last = norm_after(model, flow, name) or name
    return flow.reader(model, last, (nn.ReLU, nn.ReLU6)) or last


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` where `name` stands."""
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)
