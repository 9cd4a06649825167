"""Whether a file of weights filled a model of `transformers`, and with numbers: only a head may be
new.

`transformers` draws what a file lacks from its random generator and goes on, so an encoder without
its layers, or under other names, would be trained as if it were a pretrained one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.core.files import read_json
from limbeck.models.published.hub import folder_of
from limbeck.models.weights import not_finite

# A module of this name turns an encoder's first token into a summary. Files without a head lack it,
# and it is drawn anew with the head.
POOLER = "pooler"

# The number of a layer within a name.
NUMBER = re.compile(r"\.\d+(?=\.)")

# So many names stand in a message.
SHOWN = 3


@dataclass(frozen=True)
class Filling:
    """What `from_pretrained` says of a file; tensors by name, in the order of the model.

    missing: tensors of the model that the file lacks, or holds in another shape.
    unexpected: tensors of the file that the model has no place for.
    """

    missing: Sequence[str]
    unexpected: Sequence[str]


def filling(model: nn.Module, info: dict[str, Any]) -> Filling:
    """The answer of `from_pretrained(..., output_loading_info=True)`."""
    # Of a tensor in another shape: its name and both shapes.
    mismatched = {entry[0] for entry in info["mismatched_keys"]}
    lacking = {*info["missing_keys"], *mismatched}
    missing = [name for name in model.state_dict() if name in lacking]
    return Filling(missing, sorted(info["unexpected_keys"]))


def encoder_prefix(model: Any) -> str:
    """What the names of an encoder's tensors begin with: empty where the model is one itself."""
    if model.base_model is not model:
        name: str = model.base_model_prefix
        return f"{name}."
    children = dict(model.named_children())
    if not is_head_beside(model, children):
        return ""
    # A few classes have their encoder under another name than they say (CLIP's has
    # `vision_model`): it is what most weights are in.
    sizes = {}
    for name, child in children.items():
        sizes[name] = sum(parameter.numel() for parameter in child.parameters())
    largest = max(sizes, key=lambda name: sizes[name])
    return f"{largest}."


def is_head_beside(model: Any, children: dict[str, nn.Module]) -> bool:
    """Whether a model is a class with a head, by the class's name: `AutoModel` opens one without.

    `children`: its modules by name.
    """
    return len(children) > 1 and "For" in type(model).__name__


def in_encoder(name: str, prefix: str) -> bool:
    """Whether a tensor belongs to the encoder; a pooler counts as a part of the head."""
    return name.startswith(prefix) and POOLER not in name.split(".")


def check_complete(model: Any, found: Filling, told: str) -> None:
    """Refuse a model whose encoder was not filled from its file. `told`: the model, for a message.

    Raises ValueError with the first tensor that is missing, or that the model has no place for.
    """
    prefix = encoder_prefix(model)
    missing = [name for name in found.missing if in_encoder(name, prefix)]
    if missing:
        beginning = f"{told}: the weights of the encoder are not complete: `{missing[0]}` "
        if found.unexpected:
            others = ", ".join(f"`{name}`" for name in found.unexpected[:SHOWN])
            raise ValueError(
                f"{beginning}is missing or has another shape ({len(missing)} such tensors), and "
                f"the file holds tensors of other names: {others}. Rename them, or make "
                "config.json that of the file"
            )
        raise ValueError(
            f"{beginning}is missing or has another shape ({len(missing)} such tensors). "
            "Take the whole file, or a config.json that asks for no more than it holds"
        )
    surplus = further_layers(model, found.unexpected, prefix)
    if surplus:
        raise ValueError(
            f"{told}: the file holds `{surplus[0]}`, and config.json has no such layer "
            f"({len(surplus)} tensors). Correct the number of layers in config.json; "
            "`surgery: drop_layers` leaves layers out"
        )


def check_finite(model: nn.Module, told: str, name: str | None = None) -> None:
    """Refuse weights that hold a NaN or an infinity: every answer and every loss would be none.

    `told`: the model, for a message. `name`: its folder or hub id; None where it has no files.
    Raises ValueError with the tensor and its file.
    """
    problem = not_finite(model)
    if problem is None:
        return
    tensor, held = problem
    folder = folder_of(name) if name else None
    file = _file_with(folder, tensor) if folder else None
    where = f", in {file}" if file else ""
    raise ValueError(
        f"{told}: `{tensor}` holds {held}{where}. A training that diverged writes such weights, "
        "and so does a copy that was cut off: take the file from its source again, or an earlier "
        "checkpoint"
    )


def _file_with(folder: Path, tensor: str) -> Path | None:
    """The file of weights that a tensor of a model lies in, as far as names tell."""
    indices = sorted(folder.glob("*.index.json"))
    if indices:
        files = read_json(indices[0]).get("weight_map", {})
        # Files of an encoder alone leave out its prefix, and those of a head write it.
        names = [name for name in files if tensor.endswith(name) or name.endswith(tensor)]
        return folder / str(files[names[0]]) if names else None
    whole = [folder / name for name in ("model.safetensors", "pytorch_model.bin")]
    return next((file for file in whole if file.is_file()), None)


def further_layers(model: nn.Module, unexpected: Sequence[str], prefix: str) -> list[str]:
    """The tensors of layers that the model has fewer of: another number is a tensor of the model.

    What else is unexpected is the head of another task, say, and is left.
    """
    kinds = {kind(name, prefix) for name in model.state_dict()}
    return [name for name in unexpected if NUMBER.search(name) and kind(name, prefix) in kinds]


def kind(name: str, prefix: str) -> str:
    """A tensor's name without its encoder's prefix and without the numbers of layers."""
    return NUMBER.sub(".#", name.removeprefix(prefix))
