"""A float model to one that quantizes while it trains: modules are swapped, where they stand.

First of three steps: `prepare_model` swaps, `calibrate` fits the ranges (`after_training`), and
once the weights are trained `convert_model` leaves integers (`conversion`).

Nothing is traced. One forward pass with hooks (`models.anatomy.dataflow`) shows which modules read
the same tensor, so that they share its quantizer; which batch norm follows which product, so that
it is folded in; and where a tensor is quantized:

- What a linear layer reads is quantized where it is read. The residual stream of a transformer
  stays float.
- What a convolution makes is quantized after its norm and its ReLU, since runtimes fuse a
  convolution, and likewise an addition, between quantized tensors.
- What a convolution or a pool reads is quantized by the module that makes it (a residual block,
  say), so that a shortcut beside it reads the same integers.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from limbeck.core import registry
from limbeck.core.grids import GRIDS
from limbeck.models.anatomy.dataflow import Flow, is_usual, watch
from limbeck.models.anatomy.linear import is_transposed, linear_of
from limbeck.quantization.equalizers import Equalizer, arrange
from limbeck.quantization.fold import norm_after
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.recurrent import QuantizedMatrix, QuantizedRecurrence
from limbeck.quantization.modules.swap import (
    Quantized,
    QuantizedConv1d,
    QuantizedConv2d,
    QuantizedEmbedding,
    QuantizedLinear,
    QuantizedOutput,
)
from limbeck.quantization.plan import CONVOLUTIONS, RECURRENT, quantizable_weights
from limbeck.quantization.ranges import Range
from limbeck.quantization.roundings import LayerRounding, Rounding
from limbeck.recipe.model import Quantize, Scheme

# The swapped form of each product, which may have a batch norm behind it.
PRODUCTS: dict[type[nn.Module], Any] = {
    nn.Linear: QuantizedLinear,
    nn.Conv1d: QuantizedConv1d,
    nn.Conv2d: QuantizedConv2d,
}
MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d)
POOLS = (
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    *MAX_POOLS,
)


def quantization_components(settings: Quantize) -> dict[str, Any]:
    """The rounding and the rewrites that a recipe names.

    They are keywords of `prepare_model` and of `quantize_after_training`; nothing may be open.
    """
    assert settings.rounding is not None
    assert settings.equalize is not None
    equalizers = []
    for name, keys in settings.equalize.items():
        equalizers.append(registry.create("equalizers", name, keys))
    rounding = registry.create("roundings", settings.rounding, settings.options)
    return {"rounding": rounding, "equalizers": equalizers}


def prepare_model(
    model: nn.Module,
    schemes: dict[str, Scheme],
    range_name: str,
    forward: Callable[[nn.Module], Any],
    *,
    rounding: Rounding | LayerRounding | None = None,
    equalizers: Iterable[Equalizer] = (),
) -> Flow:
    """Swap the planned modules of `model`, in place. Ranges are not fitted yet.

    Args:
        model: in float, on the device where it will be trained.
        schemes: what each weight becomes, by its name (`plan.plan_schemes`).
        range_name: the range of weights and activations.
        forward: `forward(model)` runs one batch, to see who reads what.
        rounding: how weights reach the grid. One by layer has its turn in
            `quantize_after_training`; until then the nearest level is taken.
        equalizers: rewrites, which get their place in the model here.

    Returns:
        Who reads and who makes which tensor, by the names of the float model.
    """
    refuse_scripted(model)
    use_linear_layers(model, schemes)
    flow = watch(model, forward)
    schemes = called(model, flow, schemes)
    range_class = registry.load("ranges", range_name)
    # The places of outputs are found in the float model: names and types change below.
    outputs = output_places(model, flow, schemes, range_class)
    by_value = rounding if isinstance(rounding, Rounding) else None
    swapped = swap_weights(model, flow, schemes, range_class, by_value)
    connect_inputs(swapped, flow, schemes, outputs, range_class)
    # Wrapped last, so that a product is swapped before it gets its wrapper.
    for name, quantizer in outputs.items():
        module = model.get_submodule(name)
        replace(model, name, QuantizedOutput(module, quantizer))
    # Every rewrite finds its place now, so that saved weights fit the model when it is loaded.
    for equalizer in equalizers:
        arrange(equalizer, model, flow, forward)
    return flow


def use_linear_layers(model: nn.Module, schemes: dict[str, Scheme]) -> None:
    """Put torch's linear layers in place of the planned Conv1D of GPT-2, whose weights lie turned.

    The parameter is another one from here on: (out, in), as integers lie in every file.
    """
    weights = quantizable_weights(model)
    for name in schemes:
        module = weights[name].module
        if is_transposed(module):
            replace(model, name, linear_of(module))


def refuse_scripted(model: nn.Module) -> None:
    """Raise ValueError for a part that torch.jit has compiled: its layers cannot be replaced."""
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(
                f"quantize: `{name or type(model).__name__}` is compiled by torch.jit, and its "
                "layers cannot be replaced. Hand over the module that it was made of"
            )


def called(
    model: nn.Module,
    flow: Flow,
    schemes: dict[str, Scheme],
) -> dict[str, Scheme]:
    """The schemes of weights whose modules ran.

    A weight that is read past its module (`functional.linear(x, self.layer.weight)`, and what an
    `nn.MultiheadAttention` that is not split does with its output projection) would lie in the
    file as integers and be multiplied as floats: it stays float, as it is computed.
    """
    weights = quantizable_weights(model)
    return {name: each for name, each in schemes.items() if flow.calls[weights[name].owner]}


def swap_weights(
    model: nn.Module,
    flow: Flow,
    schemes: dict[str, Scheme],
    range_class: type[Range],
    rounding: Rounding | None,
) -> dict[str, Quantized]:
    """Swap the module of every planned weight, in place; the swapped ones by the weight's name.

    Modules that share a weight share its quantizer.
    """
    weights = quantizable_weights(model)
    num_holders = Counter(id(weights[name].tensor) for name in schemes)
    # By identity: tensors that hold equal numbers may still be trained apart.
    quantizers: dict[int, FakeQuantizer] = {}
    swapped: dict[str, Quantized] = {}
    for name, scheme in schemes.items():
        weight = weights[name].tensor
        if id(weight) not in quantizers:
            # One scale for each group of neighbours, or for each output channel.
            groups = weight.numel() // scheme.group if scheme.group else len(weight)
            quantizers[id(weight)] = FakeQuantizer(
                GRIDS[scheme.weights],
                range_class,
                groups,
                rounding=rounding,
                device=weight.device,
            )
            if scheme.scale == "float16":
                quantizers[id(weight)].keep_half()
        is_tied = num_holders[id(weight)] > 1
        swapped[name] = swap(model, name, flow, quantizers[id(weight)], is_tied=is_tied)
    return swapped


def connect_inputs(
    swapped: dict[str, Quantized],
    flow: Flow,
    schemes: dict[str, Scheme],
    outputs: dict[str, FakeQuantizer],
    range_class: type[Range],
) -> None:
    """Tell every swapped module how it reads its input, as its scheme says.

    All readers of a tensor get one quantizer: that of the module that makes it, where its output is
    quantized (`outputs`), else one of their own.
    """
    maker_of = {tensor: name for name, tensor in flow.makes.items()}
    inputs: dict[int, FakeQuantizer] = {}
    for name, module in swapped.items():
        tensor = flow.reads.get(name)
        # A table reads ids, and a matrix of a recurrent layer reads nothing by itself.
        if isinstance(module, QuantizedEmbedding) or tensor is None:
            continue
        activations = schemes[name].activations
        module.is_dynamic = activations == "uint8-dynamic"
        if activations == "int8-dynamic":
            # In the groups of the weights, so that a kernel multiplies codes by codes within each.
            module.token_group = schemes[name].group or module.weight.shape[-1]
        if activations != "uint8":
            continue
        made_quantized = outputs.get(maker_of.get(tensor, ""))
        if made_quantized is not None:
            # Quantizing twice would change nothing and cost a node of the graph.
            module.reads_codes = True
            module.input = made_quantized
            continue
        if tensor not in inputs:
            device = module.weight.device
            inputs[tensor] = FakeQuantizer(GRIDS["uint8"], range_class, device=device)
        module.input = inputs[tensor]


def swap(
    model: nn.Module,
    name: str,
    flow: Flow,
    quantizer: FakeQuantizer,
    *,
    is_tied: bool,
) -> Quantized:
    """Put the quantized form of the weight `name` in its place; `quantizer` is the weight's.

    A product takes the batch norm behind it along, unless the weight `is_tied` to another
    module's, which knows no norm.
    """
    owner, _, key = name.rpartition(".")
    holder: Any = model.get_submodule(owner)
    if isinstance(holder, RECURRENT):
        # torch's layer holds parameters alone: the first of its matrices that is quantized brings
        # the form that holds modules too.
        holder = QuantizedRecurrence(holder)
        replace(model, owner, holder)
    module = getattr(holder, key)
    swapped: Quantized
    if isinstance(module, nn.Parameter):
        # A module cannot take the place of a parameter as long as that is there.
        delattr(holder, key)
        swapped = QuantizedMatrix(module, quantizer)
    elif isinstance(module, nn.Embedding):
        swapped = QuantizedEmbedding(module, quantizer)
    else:
        norm_name = None if is_tied else norm_after(model, flow, name)
        swapped = swap_product(model, module, quantizer, norm_name)
    swapped.is_tied = is_tied
    # A new module is in training mode, whatever the model is in.
    swapped.train(model.training)
    replace(model, name, swapped)
    return swapped


def swap_product(
    model: nn.Module,
    product: nn.Module,
    quantizer: FakeQuantizer,
    norm_name: str | None,
) -> Quantized:
    """The quantized form of a product, with the norm `norm_name` of `model` taken into it."""
    norm: Any = None
    if norm_name:
        norm = model.get_submodule(norm_name)
        # Its place stays, so that the model's own forward finds something to call.
        replace(model, norm_name, nn.Identity())
    for kind, form in PRODUCTS.items():
        if isinstance(product, kind):
            return form(product, quantizer, norm)
    raise AssertionError(f"{type(product).__name__} is no product")


def output_places(
    model: nn.Module,
    flow: Flow,
    schemes: dict[str, Scheme],
    range_class: type[Range],
) -> dict[str, FakeQuantizer]:
    """The modules whose output is quantized, each with its quantizer.

    They are what a convolution leads to, and what makes the tensor that one or a pool reads.
    """
    maker_of = {tensor: name for name, tensor in flow.makes.items()}
    tensors = quantized_tensors(model, flow, schemes)
    names = {maker_of[tensor] for tensor in tensors if tensor in maker_of}
    device = next(model.parameters()).device
    places: dict[str, FakeQuantizer] = {}
    # In the order of the forward pass: what a pool reads has its quantizer before the pool.
    for name in sorted(names, key=list(flow.makes).index):
        module = model.get_submodule(name)
        source = maker_of.get(flow.reads.get(name, -1))
        if is_usual(module, MAX_POOLS) and source in places:
            # The largest of some values of a grid lies on that grid.
            places[name] = places[source]
            continue
        # A ReLU6 lets nothing pass above 6, which the grid can do in its place.
        bound = module.max_val if isinstance(module, nn.ReLU6) else None
        places[name] = FakeQuantizer(
            GRIDS["uint8"],
            range_class,
            bound=bound,
            device=device,
        )
    return places


def quantized_tensors(
    model: nn.Module,
    flow: Flow,
    schemes: dict[str, Scheme],
) -> set[int]:
    """The numbers, in `flow`, of the tensors around convolutions that are quantized where made."""
    weights = quantizable_weights(model)
    convolutions = []
    for name, scheme in schemes.items():
        is_convolution = isinstance(weights[name].module, CONVOLUTIONS)
        if is_convolution and scheme.activations == "uint8":
            convolutions.append(name)
    if not convolutions:
        # Pools of floats stay float.
        return set()
    pools = []
    for name in flow.reads:
        if isinstance(model.get_submodule(name), POOLS):
            pools.append(name)
    tensors = {flow.reads[name] for name in convolutions + pools}
    for name in convolutions:
        last = last_of(model, flow, name)
        tensors.add(flow.makes[last])
    return tensors


def last_of(model: nn.Module, flow: Flow, name: str) -> str:
    """The norm or the ReLU that the convolution `name` runs into, or the convolution itself."""
    # Runtimes fuse all three into one integer kernel, whose output is quantized once.
    last = norm_after(model, flow, name) or name
    return flow.reader(model, last, (nn.ReLU, nn.ReLU6)) or last


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` where `name` stands."""
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)
