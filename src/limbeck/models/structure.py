"""Where a model's structure is another than its config, or its network's keys, say: as data, found by comparison and made again.

A surgery cuts modules in place, and no config tells of a layer with 3 heads of 32 in a width of 384. So a model's folder is opened in three steps:
the architecture that config.json or network.json names, the edits of `structure.json`, the weights. The edits are not noted by who makes them, but
found when a model is saved, by comparison with a blank one: whatever cut it, once or twice, a copy of it or a pruning library.

An edit belongs to a module's name and says one or more of: `length` of a list, which loses its last members; `rank` of an embedding that is
factorized; `sizes`, integer attributes; `shapes` of its own parameters and buffers.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbeck.core.files import read_json, write_json
from limbeck.models.factorized import FactorizedEmbedding

FILE = "structure.json"
NO_SIZES = ("layer_idx",)  # a place in the cache of a model that generates

Edits = dict[str, dict[str, Any]]


def difference(model: nn.Module, blank: nn.Module) -> Edits:
    """The edits, in order, that give `blank` the structure of `model`; it is changed so on the way."""
    edits: Edits = {}
    for name, module in model.named_modules():
        found = of_kind(module, blank.get_submodule(name))
        if found:
            edit(blank, name, found)
        sizes = of_size(module, blank.get_submodule(name))
        if sizes:
            edit(blank, name, sizes)
        if found or sizes:
            edits[name] = found | sizes
    return edits


def of_kind(module: nn.Module, blank: nn.Module) -> dict[str, Any]:
    """What a list has lost, or how an embedding is factorized."""
    if (
        isinstance(module, nn.ModuleList)
        and isinstance(blank, nn.ModuleList)
        and len(module) < len(blank)
    ):
        return {"length": len(module)}
    if isinstance(module, FactorizedEmbedding) and isinstance(blank, nn.Embedding):
        return {"rank": module.projection.in_features}
    return {}


def of_size(module: nn.Module, blank: nn.Module) -> dict[str, Any]:
    """The integers, and the shapes of tensors, in which two modules of one class differ."""
    if type(module) is not type(blank):
        return {}
    wanted, own = integers(module), integers(blank)
    sizes = {key: value for key, value in wanted.items() if key in own and own[key] != value}
    theirs = tensors(blank)
    shapes = {
        key: list(value.shape)
        for key, value in tensors(module).items()
        if key in theirs and theirs[key].shape != value.shape
    }
    return ({"sizes": sizes} if sizes else {}) | ({"shapes": shapes} if shapes else {})


def integers(module: nn.Module) -> dict[str, int]:
    """A module's own integers, by name."""
    return {
        key: value
        for key, value in vars(module).items()
        if type(value) is int and key not in NO_SIZES
    }


def tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """A module's own parameters and buffers."""
    return dict([*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)])


def apply(model: nn.Module, edits: Edits) -> None:
    """Make the edits, in place; tensors of another shape hold nothing yet. Raises ValueError for an edit that the model has no place for."""
    for name, wanted in edits.items():
        edit(model, name, wanted)


def edit(model: nn.Module, name: str, wanted: dict[str, Any]) -> None:
    """Make one module's edits."""
    module = dict(model.named_modules(remove_duplicate=False)).get(name)
    if module is None:
        raise ValueError(
            f"{FILE}: {type(model).__name__} has no module `{name}`: the file belongs to another model"
        )
    if "length" in wanted:
        assert isinstance(module, nn.ModuleList)
        del module[wanted["length"] :]
    if "rank" in wanted:
        assert isinstance(module, nn.Embedding)
        model.set_submodule(name, FactorizedEmbedding(module, wanted["rank"]))
    for key, size in wanted.get("sizes", {}).items():
        if key not in integers(module):
            raise ValueError(
                f"{FILE}: `{name}` has no size `{key}`: the file belongs to another model"
            )
        setattr(module, key, size)
    for key, shape in wanted.get("shapes", {}).items():
        if key not in tensors(module):
            raise ValueError(
                f"{FILE}: `{name}` has no tensor `{key}`: the file belongs to another model"
            )
        put(module, key, tensors(module)[key].new_empty(shape))


def put(module: nn.Module, key: str, values: torch.Tensor) -> None:
    """Let `values` be a module's parameter or buffer `key`."""
    is_parameter = isinstance(getattr(module, key), nn.Parameter)
    setattr(module, key, nn.Parameter(values) if is_parameter else values)


def write(edits: Edits, folder: Path) -> None:
    """Put them beside the weights, where there are any."""
    if edits:
        write_json(folder / FILE, edits)


def read(folder: Path) -> Edits:
    """The edits of a model's folder; none where its config tells all."""
    return read_json(folder / FILE) if (folder / FILE).exists() else {}
