"""A recipe's model by name: one of our networks, a `transformers` model by folder or hub id, or
`timm:NAME`."""

import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbeck.core import registry, wording
from limbeck.models import networks
from limbeck.models.published import timm_models
from limbeck.models.published.hub import (
    ForeignCode,
    folder_of,
    is_path,
    is_within_reach,
    locate,
    quiet,
    reading,
)
from limbeck.models.published.other_folders import check_has_weights, check_is_whole
from limbeck.models.published.pretrained import Asked, from_transformers, say_nothing

# What `network_header` says beside the inputs.
OF_EVERY_NETWORK = ("name", "options", "labels")


def is_network(name: str) -> bool:
    """Whether a recipe's `model` names one of our networks."""
    return name in registry.names("networks")


def create_model(
    name: str,
    options: dict[str, Any],
    task: Any,
    *,
    seed: int,
    tell: Callable[[str], None] = say_nothing,
    needs_head: bool = False,
) -> nn.Module:
    """The model that a recipe names, with a head for the task's labels.

    `options`: the keys beside the name, which only our networks have. `seed`: new weights are drawn
    from it. `tell`, `needs_head`: see `pretrained.Asked`.

    Raises ValueError for a name that cannot be had, or for a key that the model does not take.
    """
    # Networks, and heads that are not in the folder, draw from torch's global generator.
    torch.manual_seed(seed)
    if is_network(name):
        return networks.build(name, options, len(task.labels), networks.inputs_of(task))
    if options:
        key = next(iter(options))
        suggestion = wording.suggest(name, registry.names("networks"))
        raise ValueError(f"`{name}` is no network of ours, so `{key}` is no key here. {suggestion}")
    if name.startswith(timm_models.PREFIX):
        return timm_models.create(name, len(task.labels), pretrained=True)
    return from_transformers(name, Asked(task, tell, needs_head))


def require(name: str) -> None:
    """Raise ValueError where the config of a `transformers` model, or a `timm` model, cannot be
    read, or a folder has no weights. None are loaded."""
    if name.startswith(timm_models.PREFIX):
        timm_models.require(name)
        return
    import transformers

    is_folder = os.path.isdir(locate(name))
    why = None
    if not is_folder and is_path(name):
        why = f"there is no folder {os.path.abspath(os.path.expanduser(name))}"
    elif not is_folder and not is_within_reach(name):
        why = "it is not in the hub's cache, and the hub does not answer here"
    try:
        if why:
            raise ValueError(
                f"model `{name}`: neither a network of ours, nor a model folder, nor a hub id that "
                f"can be reached: {why}"
            )
        with reading(name), quiet():
            folder = folder_of(name)
            if folder is not None:
                check_is_whole(name, folder)
            # First: a folder that asks to run its code is refused for that, whatever it lacks.
            transformers.AutoConfig.from_pretrained(locate(name), trust_remote_code=False)
            if is_folder:
                check_has_weights(name, Path(locate(name)))
    except ForeignCode:
        raise
    except ValueError as error:
        if is_folder:
            raise
        raise ValueError(f"{error}. {_where_to_get(name)}") from None


def _where_to_get(name: str) -> str:
    """The cure for a model that is not to be had: the nearest network of ours, or a folder."""
    told = f"Networks of ours: {', '.join(registry.names('networks'))}"
    near = difflib.get_close_matches(name, registry.names("networks"), n=1)
    if near:
        told = f"Did you mean `{near[0]}`? {told}"
    told = f"{told}. Or name a folder with the model's config.json, weights and tokenizer"
    if is_path(name):
        return f"{told}; a relative path is read from the folder that limbeck is started in"
    return f"{told}: where there is a network, `hf download {name} --local-dir FOLDER` makes one"


def network_header(
    name: str,
    options: dict[str, Any],
    task: Any,
) -> dict[str, Any] | None:
    """What `build_network` needs: the name, the recipe's keys, how many labels, and of what inputs.

    None for a `transformers` model, whose folder has a config.json.
    """
    if not (is_network(name) or name.startswith(timm_models.PREFIX)):
        return None
    return {
        "name": name,
        "options": options,
        "labels": len(task.labels),
        **networks.inputs_of(task),
    }


def build_network(header: dict[str, Any]) -> nn.Module:
    """A network, with new weights, by its header."""
    name, options, num_labels = header["name"], header["options"], header["labels"]
    if name.startswith(timm_models.PREFIX):
        return timm_models.create(name, num_labels, pretrained=False)
    inputs = {key: value for key, value in header.items() if key not in OF_EVERY_NETWORK}
    return networks.build(name, options, num_labels, inputs)
