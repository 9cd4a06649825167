"""Where a model's structure is another than its config, or its network's keys, say: as data, found
by comparison and made again.

A surgery cuts modules in place, and no config tells of a layer with 3 heads of 32 in a width of
384. So a model's folder is opened in three steps: the architecture that config.json or network.json
names, the edits of `structure.json`, the weights. Whoever cuts a model does not note its edits:
they are found when the model is saved, by comparison with a blank one. So it does not matter what
cut it, once or twice: a surgery, a user's code or a pruning library.

The edit of a module says one or more of:
- `length` of a list, which loses its last members;
- `rank` of an embedding that is factorized (`models.anatomy.factorized`);
- `sizes`, integer attributes;
- `shapes` of the module's own parameters and buffers.
"""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from limbeck.core.files import read_json, write_json
from limbeck.models.anatomy.factorized import FactorizedEmbedding

FILE = "structure.json"

# Integers that say no size: a layer's place in the cache of a model that generates.
NO_SIZES = ("layer_idx",)

Edit = dict[str, Any]

# By module name, in the order of the model.
Edits = dict[str, Edit]


def difference(model: nn.Module, blank: nn.Module) -> Edits:
    """The edits that give `blank` the structure of `model`; on the way `blank` is changed so."""
    edits: Edits = {}
    for name, module in model.named_modules():
        # A list is cut and an embedding replaced first: only then are there two modules of one
        # class, whose sizes can be compared.
        of_kind = kind_edit(module, blank.get_submodule(name))
        if of_kind:
            edit(blank, name, of_kind)
        of_size = size_edit(module, blank.get_submodule(name))
        if of_size:
            edit(blank, name, of_size)
        if of_kind or of_size:
            edits[name] = of_kind | of_size
    return edits


def kind_edit(module: nn.Module, blank: nn.Module) -> Edit:
    """What a list has lost, or how an embedding is factorized; empty where neither is so."""
    if isinstance(module, nn.ModuleList) and isinstance(blank, nn.ModuleList):
        return {"length": len(module)} if len(module) < len(blank) else {}
    if isinstance(module, FactorizedEmbedding) and isinstance(blank, nn.Embedding):
        return {"rank": module.projection.in_features}
    return {}


def size_edit(module: nn.Module, blank: nn.Module) -> Edit:
    """The integers, and the shapes of tensors, in which two modules of one class differ."""
    # Of two classes, equal attribute names say nothing.
    if type(module) is not type(blank):
        return {}
    edit: Edit = {}
    blank_sizes = integers(blank)
    sizes = {}
    for key, size in integers(module).items():
        if key in blank_sizes and blank_sizes[key] != size:
            sizes[key] = size
    if sizes:
        edit["sizes"] = sizes
    blank_tensors = tensors(blank)
    shapes = {}
    for key, tensor in tensors(module).items():
        if key in blank_tensors and blank_tensors[key].shape != tensor.shape:
            shapes[key] = list(tensor.shape)
    if shapes:
        edit["shapes"] = shapes
    return edit


def integers(module: nn.Module) -> dict[str, int]:
    """A module's own integers, by name."""
    found = {}
    for key, value in vars(module).items():
        # Not isinstance: a bool is an int.
        if type(value) is int and key not in NO_SIZES:
            found[key] = value
    return found


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """A module's own parameters and buffers."""
    parameters = dict(module.named_parameters(recurse=False))
    return parameters | dict(module.named_buffers(recurse=False))


def apply(model: nn.Module, edits: Edits) -> None:
    """Make the edits, in place; tensors of another shape hold no values yet.

    Raises ValueError for an edit that the model has no place for.
    """
    for name, of_module in edits.items():
        edit(model, name, of_module)


def edit(
    model: nn.Module,
    name: str,
    wanted: Edit,
) -> None:
    """Make the edit of one module. Raises ValueError where the model has no place for it."""
    module = dict(model.named_modules(remove_duplicate=False)).get(name)
    if module is None:
        raise misplaced(f"{type(model).__name__} has no module `{name}`")
    if "length" in wanted:
        assert isinstance(module, nn.ModuleList)
        # The last ones: which layers were cut is in the weights, not in the shapes.
        del module[wanted["length"] :]
    if "rank" in wanted:
        assert isinstance(module, nn.Embedding)
        model.set_submodule(name, FactorizedEmbedding(module, wanted["rank"]))
    for key, size in wanted.get("sizes", {}).items():
        if key not in integers(module):
            raise misplaced(f"`{name}` has no size `{key}`")
        setattr(module, key, size)
    for key, shape in wanted.get("shapes", {}).items():
        tensor = tensors(module).get(key)
        if tensor is None:
            raise misplaced(f"`{name}` has no tensor `{key}`")
        # Of the type and the device of the old one, and perhaps on the meta device.
        put(module, key, tensor.new_empty(shape))


def misplaced(what: str) -> ValueError:
    """The error for an edit that the model has no place for."""
    return ValueError(f"{FILE}: {what}: the file belongs to another model")


def put(
    module: nn.Module,
    key: str,
    values: Tensor,
) -> None:
    """Let `values`, of any shape, be a module's parameter or buffer `key`."""
    is_parameter = isinstance(getattr(module, key), nn.Parameter)
    setattr(module, key, nn.Parameter(values) if is_parameter else values)


def write(edits: Edits, folder: Path) -> None:
    """Write structure.json beside the weights, where there are edits."""
    if edits:
        write_json(folder / FILE, edits)


def read(folder: Path) -> Edits:
    """The edits of a model's folder; none where its config tells all."""
    path = folder / FILE
    return read_json(path) if path.exists() else {}
