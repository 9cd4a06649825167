"""A model's folder: write it and open it.

It is that of `transformers` (config.json, model.safetensors) or, for our networks and timm's,
network.json and model.safetensors. Beside them lie the text of the preprocessing (tokenizer.json,
preprocess.json, or dialogue.json with the tokenizer's own files, which transformers reads), and
structure.json where the model was cut in a way that its config does not tell.
"""

import errno
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from limbeck.core.files import read_json, write_bytes, write_json
from limbeck.models.anatomy import structure
from limbeck.models.create import build_network
from limbeck.models.published.embedder import Embedder
from limbeck.models.published.hub import quiet
from limbeck.models.published.pretrained import Asked, from_transformers
from limbeck.models.published.sentence_modules import write_poolings
from limbeck.models.weights import WEIGHTS, model_state, restore_state, save_tensors
from limbeck.tasks.inputs.dialogue import DialogueInput

NETWORK = "network.json"


def save_model(
    model: Any,
    folder: Path,
    *,
    network: dict[str, Any] | None,
    preprocess_file: str,
    text: str,
) -> None:
    """Write a model's folder.

    `network`: the header of one of our networks (`create.network_header`); None for a model of
    `transformers`. `preprocess_file`, `text`: the name and the content of the preprocessing.

    Raises OSError where the disk is full or fails.
    """
    # Poolings and the norm around an encoder have no weights; the task says that they are there.
    if isinstance(model, Embedder):
        write_poolings(model.poolings, model.config, folder)
        model = model.encoder
    if network is None:
        save_pretrained(model, folder)
    else:
        write_json(folder / NETWORK, network)
        save_tensors(model_state(model), folder / WEIGHTS)
    # On the meta device a blank model costs no memory; only its shapes are compared.
    with torch.device("meta"), quiet():
        blank = type(model)(model.config) if network is None else build_network(network)
    edits = structure.difference(model, blank)
    structure.write(edits, folder)
    if edits and network is None:
        name_as_in_model(model, folder)
    write_bytes(folder / preprocess_file, text.encode())
    if preprocess_file == DialogueInput.preprocess_file:
        write_tokenizer(text, folder)


def write_tokenizer(text: str, folder: Path) -> None:
    """Write what plain `transformers`, and whoever reads such a folder, looks for: the tokenizer
    and the chat template. `text`: of a dialogue.json."""
    content = json.loads(text)
    tokenizer = content["tokenizer"]
    write_json(folder / "tokenizer.json", tokenizer)
    padding = DialogueInput(text).tokenizer.id_to_token(content["pad_id"])
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": padding,
        **content["special_tokens"],
    }
    write_json(folder / "tokenizer_config.json", settings)
    if content["chat_template"] is not None:
        write_bytes(folder / "chat_template.jinja", content["chat_template"].encode())


def name_as_in_model(model: nn.Module, folder: Path) -> None:
    """Write the weights again where `transformers` gave them the names of older files, as it does
    for ESM's norms: a cut model is filled by the names that its own modules have."""
    state = model_state(model)
    with safe_open(folder / WEIGHTS, "pt") as file:
        is_renamed = any(name not in state for name in file.keys())  # noqa: SIM118, no dict
    if is_renamed:
        save_tensors(state, folder / WEIGHTS)


def save_pretrained(model: Any, folder: Path) -> None:
    """Write config.json and model.safetensors of a `transformers` model."""
    try:
        with quiet():
            model.save_pretrained(folder)
    except SafetensorError as error:
        # safetensors hides the system's error number in its text; callers tell a full disk by it.
        number = errno.ENOSPC if "No space left" in str(error) else errno.EIO
        raise OSError(number, str(error), str(folder)) from None


def load_model(folder: Path, task: Any) -> nn.Module:
    """The model of a folder that `save_model` wrote, with the head of `task`, on the CPU.

    Raises ValueError where the files do not fit one another.
    """
    if not (folder / NETWORK).exists():
        return from_transformers(str(folder), Asked(task, is_ours=True))
    # Architecture, edits, weights: each fits only what was there before.
    model = build_network(read_json(folder / NETWORK))
    structure.apply(model, structure.read(folder))
    restore_state(model, load_file(folder / WEIGHTS))
    return model
