"""What a quantized model's graph depends on, beside the values of its weights.

Arms of a verdict are often the same network with other weights: a graph traced of one is that of
the other with other initializers, so whatever refuses one refuses both.
"""

from typing import Any

from torch import dtype, nn

from limbeck.core.files import digest
from limbeck.core.grids import Grid
from limbeck.pipeline.preflight.exportable import has_others_exporter, others_of
from limbeck.quantization.conversion import convert_model
from limbeck.recipe.model import Recipe

# Of what a module holds, what a trace may branch on and can be compared as text. Anything else (a
# config, a function) is told by its type: arms with one student have it in common.
PLAIN = (bool, int, float, str, dtype, Grid, type(None))


def graph_key(recipe: Recipe, model: nn.Module) -> str | None:
    """What a fake-quantized model of an arm shares with those whose graphs differ by their weights
    alone; None where somebody else's code may do what its modules do not show."""
    if has_others_exporter(recipe) or others_of(recipe.quantize):
        return None
    student = recipe.student.model_dump(mode="json")
    return digest([student, list(recipe.export), structure_of(model)])


def structure_of(model: nn.Module) -> str:
    """A digest that two fake-quantized models share whose graphs differ by weights alone.

    It is conservative: a number that a module holds outside of its tensors counts.
    """
    converted = convert_model(model)
    # Modules and tensors that stand in two places are one of them each time.
    first: dict[int, str] = {}
    parts: list[Any] = []
    for path, module in converted.named_modules(remove_duplicate=False):
        same_as = first.setdefault(id(module), path)
        kind = f"{type(module).__module__}.{type(module).__qualname__}"
        held = {key: _told(value) for key, value in sorted(vars(module).items()) if key[0] != "_"}
        parts.append([path, same_as, kind, held])
    tensors = [
        *converted.named_parameters(remove_duplicate=False),
        *converted.named_buffers(remove_duplicate=False),
    ]
    for path, tensor in tensors:
        same_as = first.setdefault(id(tensor), path)
        parts.append([path, same_as, list(tensor.shape), str(tensor.dtype)])
    return digest(parts)


def _told(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return str([_told(each) for each in value])
    is_plain = isinstance(value, PLAIN)
    return repr(value) if is_plain else type(value).__qualname__
