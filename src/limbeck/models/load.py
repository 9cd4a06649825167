"""A name to a torch module and its preprocessing: one of our networks, a `transformers` model by folder or hub id, or `timm:NAME`.

A model's folder is that of `transformers` (config.json, model.safetensors) or, for our networks, network.json and model.safetensors; with the
text of its preprocessing (tokenizer.json or preprocess.json) beside them, and structure.json where the model was cut in a way that neither tells of.
"""

import contextlib
import errno
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from limbeck.core import registry, wording
from limbeck.core.files import read_json, write_bytes, write_json
from limbeck.models import structure, timm_models
from limbeck.models.embedder import Embedder
from limbeck.models.processors import image_settings
from limbeck.models.weights import WEIGHTS, model_state, restore_state, save_tensors
from limbeck.tasks import SelfSupervised

NETWORK = "network.json"
POOLER = "pooler."


def is_network(name: str) -> bool:
    """Whether a recipe's `model` names one of our networks."""
    return name in registry.names("networks")


def create_model(name: str, options: dict[str, Any], task: Any, *, seed: int) -> nn.Module:
    """The model a recipe names, with a head for the task's labels; new weights are drawn from `seed`. Raises ValueError."""
    torch.manual_seed(seed)
    if is_network(name):
        network = registry.create("networks", name, options)
        return network.build(len(task.labels), task.settings["channels"])
    if options:
        raise ValueError(
            f"`{name}` is no network of ours, so `{next(iter(options))}` is no key here. {wording.suggest(name, registry.names('networks'))}"
        )
    if name.startswith(timm_models.PREFIX):
        return timm_models.create(name, len(task.labels), pretrained=True)
    return from_transformers(name, task)


def from_transformers(name: str, task: Any) -> nn.Module:
    """A pretrained model with the task's head. Raises ValueError for a folder or hub id that cannot be had, or other labels in a tuned head."""
    import transformers

    is_headless = task.auto_model == "AutoModel"
    labels = (
        None if isinstance(task, SelfSupervised) or is_headless else dict(enumerate(task.labels))
    )  # a vocabulary is the model's own
    auto = getattr(transformers, task.auto_model)
    with reading(name), quiet():
        config = transformers.AutoConfig.from_pretrained(locate(name))
        tuned = labels is None or set(config.id2label.values()) == set(task.labels)
        if labels is not None and not tuned:
            config.id2label, config.label2id = labels, {label: i for i, label in labels.items()}
        with having(name, task.auto_model):
            if edits := structure.read(Path(locate(name))):
                model = auto.from_config(config, attn_implementation="eager", dtype=torch.float32)
                structure.apply(model, placed(model, edits))
                fill(model, load_file(Path(locate(name)) / WEIGHTS))
            else:
                model = auto.from_pretrained(
                    locate(name),
                    config=config,
                    attn_implementation="eager",
                    dtype=torch.float32,
                    ignore_mismatched_sizes=not tuned,
                )
        if config.model_type == "efficientnet":
            model.efficientnet.pooler = nn.AdaptiveAvgPool2d(
                1
            )  # its window is larger than the map, which means the same, but not to runtimes
    if is_headless:
        return Embedder(model)
    return (
        model
        if labels is None
        else reorder_head(model, [config.id2label[i] for i in range(len(labels))], task.labels)
    )


def placed(model: Any, edits: structure.Edits) -> structure.Edits:
    """Edits by the names that modules have here: an encoder may stand alone in one form of a model, and below a head in another."""
    names, encoder = (
        dict(model.named_modules(remove_duplicate=False)),
        f"{model.base_model_prefix}.",
    )
    here = {
        name: name
        if name in names
        else encoder + name
        if encoder + name in names
        else name.removeprefix(encoder)
        for name in edits
    }
    return {here[name]: wanted for name, wanted in edits.items()}


def fill(model: Any, tensors: dict[str, torch.Tensor]) -> None:
    """Copy weights into a cut model; a head of another task or of other labels, or a pooler that is not there, stays new.

    Raises ValueError where its encoder differs.
    """
    own, encoder = model.state_dict(), f"{model.base_model_prefix}."
    plain = {name.removeprefix(encoder): tensor for name, tensor in tensors.items()}
    found = {name: plain.get(name.removeprefix(encoder)) for name in own}
    fitting = {
        name: tensor
        for name, tensor in found.items()
        if tensor is not None and own[name].shape == tensor.shape
    }
    is_headless = not any(name.startswith(encoder) for name in own)
    without = (
        () if any(name.startswith(POOLER) for name in plain) else (POOLER, encoder + POOLER)
    )  # an `Embedder` has none
    missing = [
        name
        for name in own
        if (is_headless or name.startswith(encoder))
        and name not in fitting
        and not name.startswith(without)
    ]
    if missing:
        raise ValueError(
            f"the weights of {type(model).__name__} do not fit {structure.FILE}: `{missing[0]}`"
        )
    model.load_state_dict(fitting, strict=False)


def require(name: str) -> None:
    """Raises ValueError where the config of a `transformers` model, or a `timm` model, cannot be had."""
    if name.startswith(timm_models.PREFIX):
        timm_models.settings(name)
        return
    import transformers

    with reading(name), quiet():
        transformers.AutoConfig.from_pretrained(locate(name))


def reorder_head(model: nn.Module, own: Sequence[str], wanted: Sequence[str]) -> nn.Module:
    """Let the outputs of a tuned classifier follow the order of `wanted`."""
    if list(own) == list(wanted):
        return model
    order = [list(own).index(label) for label in wanted]
    head = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and module.out_features == len(own)
    ][-1]
    with torch.no_grad():
        head.weight.copy_(head.weight[order].clone())
        if head.bias is not None:
            head.bias.copy_(head.bias[order].clone())
    config: Any = model.config
    config.id2label = dict(enumerate(wanted))
    config.label2id = {label: i for i, label in enumerate(wanted)}
    return model


def preprocess(name: str, task_class: Any, rows: Sequence[Any], max_tokens: int) -> str:
    """The text of the preprocessing that the model `name` needs: its tokenizer, or what the training images say."""
    if task_class.preprocess_file == "preprocess.json":
        return (
            task_class.fit_preprocess(rows)
            if is_network(name)
            else json.dumps(image_processor(name))
        )
    if is_network(name):
        raise ValueError(
            f"model `{name}`: this network of ours reads images. Texts need a `transformers` model, by folder or hub id"
        )
    import transformers

    with reading(name), quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(locate(name))
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(min(max_tokens, tokenizer.model_max_length))
    backend.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    return backend.to_str()


def network_header(model_name: str, options: dict[str, Any], task: Any) -> dict[str, Any] | None:
    """What rebuilds one of our networks; None for a `transformers` model."""
    if not (is_network(model_name) or model_name.startswith(timm_models.PREFIX)):
        return None
    return {
        "name": model_name,
        "options": options,
        "labels": len(task.labels),
        "channels": task.settings["channels"],
    }


def image_processor(name: str) -> dict[str, Any]:
    """The settings of `preprocess.json` for a pretrained image model. Raises ValueError."""
    if name.startswith(timm_models.PREFIX):
        return timm_models.settings(name)
    from transformers.image_processing_base import ImageProcessingMixin

    with reading(name), quiet():
        config, _ = ImageProcessingMixin.get_image_processor_dict(locate(name))
    try:
        return image_settings(config)
    except ValueError as error:
        raise ValueError(f"model `{name}`: preprocessor_config.json: {error}") from None


def save_model(
    model: Any, folder: Path, *, network: dict[str, Any] | None, preprocess_file: str, text: str
) -> None:
    """Write a model's folder. `network`: name, options, labels and channels of one of ours; None for a `transformers` model."""
    if isinstance(model, Embedder):
        model = model.encoder
    if network is None:
        try:
            with quiet():
                model.save_pretrained(folder)
        except SafetensorError as error:
            raise OSError(
                errno.ENOSPC if "No space left" in str(error) else errno.EIO,
                str(error),
                str(folder),
            ) from None
    else:
        write_json(folder / NETWORK, network)
        save_tensors(model_state(model), folder / WEIGHTS)
    with torch.device("meta"), quiet():
        blank = type(model)(model.config) if network is None else build_network(network)
    structure.write(structure.difference(model, blank), folder)
    write_bytes(folder / preprocess_file, text.encode())


def load_model(folder: Path, task: Any) -> nn.Module:
    """The model of a folder written by `save_model`."""
    if not (folder / NETWORK).exists():
        return from_transformers(str(folder), task)
    model = build_network(read_json(folder / NETWORK))
    structure.apply(model, structure.read(folder))
    restore_state(model, load_file(folder / WEIGHTS))
    return model


def build_network(network: dict[str, Any]) -> nn.Module:
    """A network, with new weights, by its header."""
    if network["name"].startswith(timm_models.PREFIX):
        return timm_models.create(network["name"], network["labels"], pretrained=False)
    return registry.create("networks", network["name"], network["options"]).build(
        network["labels"], network["channels"]
    )


def locate(name: str) -> str:
    """A folder's path with ~ expanded, or the hub id as it is."""
    path = Path(name).expanduser()
    return str(path) if path.exists() else name


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what `transformers` raises for a model that cannot be had into one sentence."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise ValueError(
            f"model `{name}`: neither a network of ours, nor a model folder, nor a hub id that can be reached: {reason}"
        ) from None


@contextlib.contextmanager
def having(name: str, auto_model: str) -> Iterator[None]:
    """Turn what `transformers` raises for a model without a form for the task into one sentence."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            f"model `{name}`: not to be had as {auto_model}: {str(error).strip().splitlines()[0][:300]}"
        ) from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the loading reports of `transformers` off the terminal."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(level)
