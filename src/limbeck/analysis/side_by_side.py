"""A quantized model beside the float model of the same weights."""

from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor, nn

from limbeck.models.running import call, capture
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.kv_cache import KeptInInt8
from limbeck.quantization.modules.swap import QuantizedOutput
from limbeck.tasks import Batch

Kind = TypeVar("Kind", bound=nn.Module)


def modules_of(model: nn.Module, kind: type[Kind]) -> dict[str, Kind]:
    """The modules of one kind by name."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, kind):
            found[name] = module
    return found


def without_quantizers(model: nn.Module) -> nn.Module:
    """The model with its quantizers turned off, in place: the same weights in float."""
    # A quantizer that is not calibrated passes everything through.
    for module in model.modules():
        if isinstance(module, FakeQuantizer | KeptInInt8):
            module.calibrated.fill_(False)
    return model


def paired_outputs(
    plain: nn.Module,
    quantized: nn.Module,
    names: Sequence[str],
    batch: Batch,
) -> dict[str, tuple[Tensor, Tensor]]:
    """The output of each named module in the float and in the quantized model, on one batch.

    The names come in the order in which the modules run; one that does not run is left out.
    """
    with capture(plain, names) as exact:
        call(plain, batch)
    with capture(quantized, names) as rounded:
        call(quantized, batch)
    # The hooks have filled the dict in the order of running.
    return {name: (exact[name], rounded[name]) for name in rounded}


def recipe_names(model: nn.Module) -> dict[str, str]:
    """The name in the float model, which a recipe uses, of every module of the prepared one.

    Preparation wraps a module whose output is quantized in a `QuantizedOutput`, as its child
    `module`: `blocks.0.module` there is `blocks.0` in the recipe.
    """
    names = {"": ""}
    for path, module in model.named_modules():
        name = names[path]
        for child, _ in module.named_children():
            child_path = f"{path}.{child}" if path else child
            is_wrapped = isinstance(module, QuantizedOutput) and child == "module"
            if is_wrapped:
                names[child_path] = name
            else:
                names[child_path] = f"{name}.{child}" if name else child
    return names
