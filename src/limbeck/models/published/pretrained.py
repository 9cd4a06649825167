"""A pretrained model of `transformers` with the head of a task, from a folder or the hub.

A model that a surgery cut is rebuilt first: its folder holds structure.json
(`models.anatomy.structure`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from limbeck.core.wording import some
from limbeck.models.anatomy import structure
from limbeck.models.anatomy.attention import make_masks_without_waits
from limbeck.models.anatomy.coarse_grid import coarse_grid
from limbeck.models.published.complete import (
    Filling,
    check_complete,
    check_finite,
    encoder_prefix,
    filling,
    in_encoder,
)
from limbeck.models.published.embedder import Embedder
from limbeck.models.published.gguf_files import notes_of
from limbeck.models.published.heads import (
    are_names,
    matched_names,
    name_labels,
    names_of,
    reorder_head,
    why_new,
)
from limbeck.models.published.hub import having, locate, quiet, reading
from limbeck.models.published.other_folders import check_are_floats
from limbeck.models.published.sentence_modules import read_poolings
from limbeck.models.weights import WEIGHTS
from limbeck.tasks import OverVocabulary

SHOWN = 3  # names of tensors that a message lists

# The name of the layer on top of BERT-like encoders that turns the first token into a summary.
POOLER = "pooler."


def say_nothing(_: str) -> None:
    """Nobody listens."""


# How every line begins that is told of a model, which `limbeck check` shows too.
MODEL = "model `"


@dataclass(frozen=True)
class Asked:
    """What is asked of a model's folder or hub id.

    task: whose head the model shall have.
    tell: is given a line where something of the model is new, or is read otherwise than it stands.
    needs_head: whether nothing will tune a new head: one for other labels is then refused.
    is_ours: whether limbeck wrote the folder: then the names of its outputs are labels, whatever
        they are called.
    """

    task: Any
    tell: Callable[[str], None] = say_nothing
    needs_head: bool = False
    is_ours: bool = False

    @property
    def is_headless(self) -> bool:
        """Whether the task reads an encoder's vectors."""
        return bool(self.task.auto_model == "AutoModel")

    @property
    def has_labels(self) -> bool:
        """Whether the head's outputs are labels; those of a vocabulary are words."""
        return not (self.is_headless or isinstance(self.task, OverVocabulary))


def from_transformers(name: str, asked: Asked) -> nn.Module:
    """A pretrained model with the task's head, in float32.

    A head that was tuned for the same labels keeps its weights, in the order of the task's labels;
    any other is drawn anew by torch's random generator, and told.

    Raises ValueError for a folder or hub id that cannot be read or whose weights do not fill the
    encoder, for a model that has no form for the task, and for a new head where one is needed.
    """
    import transformers

    make_masks_without_waits()
    task = asked.task
    with reading(name):
        poolings = read_poolings(name, asked.tell) if asked.is_headless else ()
    check_are_floats(name, Path(locate(name)))
    with reading(name), quiet():
        config = transformers.AutoConfig.from_pretrained(locate(name), trust_remote_code=False)
        suit_classification(config, task)
        head_names = names_of(config) if asked.has_labels else []
        matched = head_labels(head_names, asked)
        if asked.has_labels and matched is None:
            name_labels(config, task.labels)
        with having(name, task.auto_model):
            model, found = read_weights(name, task.auto_model, config, is_tuned=matched is not None)
        if config.model_type == "efficientnet":
            # Its pooling window is larger than the map that it pools, which torch takes for the
            # mean of the whole map and runtimes refuse.
            model.efficientnet.pooler = nn.AdaptiveAvgPool2d(1)
    check_complete(model, found, f"model `{name}`")
    check_finite(model, f"model `{name}`", name)
    if not asked.is_ours:
        tell_coarse_grid(model, asked, name)
    if not asked.is_headless:
        tell_left_out(model, found, asked, name)
    if asked.is_headless:
        return Embedder(model, poolings)
    reason = why_new(head_names, task.labels) if matched is None else None
    missing = [key for key in found.missing if not in_encoder(key, encoder_prefix(model))]
    # A file without a head mostly has a config without names, which is no reason then.
    is_bare = bool(missing) and (reason is None or not are_names(head_names))
    if is_bare:
        reason = f"`{missing[0]}` is not among its weights"
    if reason:
        tell_of_head(name, asked, reason, is_bare=is_bare)
    if matched is None or not asked.has_labels:
        return model
    if matched != head_names:
        asked.tell(f"{MODEL}{name}`: its head's {some(head_names)} are read as {some(matched)}")
    return reorder_head(model, matched, task.labels, encoder_prefix(model))


def tell_coarse_grid(model: nn.Module, asked: Asked, name: str) -> None:
    """Tell where a model's weights are on a grid of a few bits already, and where a GGUF file parts
    texts in a way that transformers does not know."""
    grid = coarse_grid(model.parameters())
    if grid is not None:
        asked.tell(
            f"{MODEL}{name}`: warning: {grid.share:.0%} of its weights lie on a grid of "
            f"{grid.bits} bits already. What {grid.bits} bits lose of it says little: take a model "
            "of trained floats for such figures"
        )
    notes = notes_of(Path(locate(name))) or {}
    if notes.get("pre_tokenizer"):
        asked.tell(
            f"{MODEL}{name}`: warning: its file parts texts as `{notes['pre_tokenizer']}`, which "
            "is not known here, so they may have other tokens than it was trained on. Take the "
            "folder that it was converted from"
        )


def tell_left_out(model: Any, found: Filling, asked: Asked, name: str) -> None:
    """Tell of tensors of a file that lie in the encoder by their names, and that it lacks."""
    prefix = encoder_prefix(model)
    # A pooler belongs to the head of another task.
    names = [key for key in found.unexpected if prefix and key.startswith(prefix)]
    names = [key for key in names if "pooler" not in key]
    if names:
        asked.tell(
            f"{MODEL}{name}`: warning: {len(names)} tensors of its encoder have no place in "
            f"{type(model).__name__} and are left out ({some(names, SHOWN)})"
        )


def model_type(model: Any) -> str | None:
    """What `config.json` calls a model's architecture; None where it has no config."""
    inner = model.encoder if isinstance(model, Embedder) else model
    kind = getattr(getattr(inner, "config", None), "model_type", None)
    return None if kind is None else str(kind)


def suit_classification(config: Any, task: Any) -> None:
    """Let a model that was made to generate answer once: it keeps no keys and values, and knows
    which of a text's tokens are padding."""
    settings = config.to_dict()
    if config.model_type == "big_bird":
        # Attention by blocks needs texts of a dozen blocks and replaces itself for shorter ones,
        # while it runs: no folder holds a model that changes. Between few tokens both are one.
        config.attention_type = "original_full"
    # A model that goes on generating keeps both.
    if isinstance(task, OverVocabulary):
        return
    # Encoders have the first key too, where it does nothing.
    if settings.get("use_cache") and settings.get("pad_token_id") is None:
        config.use_cache = False
        config.pad_token_id = task.padding.get("input_ids", 0)


def head_labels(head_names: Sequence[str], asked: Asked) -> list[str] | None:
    """The task's label of each output of a head; empty for a head without labels, None where it was
    made for others."""
    if not asked.has_labels:
        return []
    labels = list(asked.task.labels)
    if asked.is_ours and sorted(head_names) == sorted(labels):
        return list(head_names)
    return matched_names(head_names, labels)


def tell_of_head(
    name: str,
    asked: Asked,
    reason: str,
    *,
    is_bare: bool,
) -> None:
    """Tell that a head is new. `is_bare`: the file has none at all.

    Raises ValueError where nothing will tune it and the file has one, for other labels: whoever
    names it takes it for a tuned model.
    """
    # Of a model that is pre-trained the head is new; as a teacher it is only what a student is cut
    # from.
    if asked.needs_head and asked.has_labels and not is_bare:
        raise ValueError(
            f"model `{name}`: it is taken as tuned already (epochs: 0), and has no head for this "
            f"data: {reason}. Tune it (epochs: 3), or name its outputs by the data's labels in "
            "config.json (id2label)"
        )
    if not asked.is_ours:
        told = f"its head is new, since {reason}"
        if asked.needs_head:
            told = (
                f"warning: {told}, and nothing tunes it (epochs: 0): its answers are chance. Tune "
                "it (epochs: 3), unless a student is only cut from it"
            )
        asked.tell(f"{MODEL}{name}`: {told}")


def read_weights(
    name: str,
    auto_model: str,
    config: Any,
    *,
    is_tuned: bool,
) -> tuple[Any, Filling]:
    """A model of the class `auto_model` of transformers with the weights of the folder or hub id,
    and what they left open.

    `is_tuned`: False draws the head anew, whatever head the weights have.
    """
    import transformers

    auto = getattr(transformers, auto_model)
    # Eager attention is plain torch operations, which the exporters and the probes can follow.
    settings = {"attn_implementation": "eager", "dtype": torch.float32}
    edits = structure.read(Path(locate(name)))
    if not edits:
        model, info = auto.from_pretrained(
            locate(name),
            config=config,
            output_loading_info=True,
            # Which tensors may differ is not its question: see `check_complete`.
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
            **settings,
        )
        found = filling(model, info)
        if not is_tuned:
            renew_head(model, found, auto.from_config, settings)
        return model, found
    model = auto.from_config(config, trust_remote_code=False, **settings)
    structure.apply(model, edits_for(model, edits))
    # By our own hand: `from_pretrained` would refuse shapes that its config does not tell.
    tensors = load_file(Path(locate(name)) / WEIGHTS)
    return model, Filling(fill(model, tensors, with_head=is_tuned), [])


def renew_head(
    model: Any,
    found: Filling,
    blank: Callable[..., Any],
    settings: dict[str, Any],
) -> None:
    """Draw those tensors of a head anew that a file has filled: they stand for other labels.

    `blank`: makes a model of a config with new weights.
    """
    prefix = encoder_prefix(model)
    filled = []
    for key in model.state_dict():
        if not key.startswith(prefix) and key not in found.missing:
            filled.append(key)
    # A file without a head, the usual case, has cost its random numbers already.
    if not (filled and prefix):
        return
    fresh = blank(model.config, trust_remote_code=False, **settings).state_dict()
    with torch.no_grad():
        for key in filled:
            model.state_dict()[key].copy_(fresh[key])


def edits_for(model: Any, edits: structure.Edits) -> structure.Edits:
    """The edits by the names that modules have in `model`.

    The same encoder stands alone in one class of transformers and below a prefix, beside a head, in
    another.
    """
    names = dict(model.named_modules(remove_duplicate=False))
    prefix = f"{model.base_model_prefix}."
    renamed = {}
    for name, edit in edits.items():
        if name in names:
            renamed[name] = edit
        elif prefix + name in names:
            renamed[prefix + name] = edit
        else:
            renamed[name.removeprefix(prefix)] = edit
    return renamed


def fill(
    model: Any,
    tensors: Mapping[str, torch.Tensor],
    *,
    with_head: bool,
) -> list[str]:
    """Copy the weights of a folder into a cut model, by name with or without the encoder's prefix.

    A head of another task or of other labels (`with_head` is False) stays new, and so does a pooler
    that the folder lacks. Returns what stays new.

    Raises ValueError where a tensor of the encoder is missing or has another shape.
    """
    prefix = f"{model.base_model_prefix}."
    by_short_name = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    around_encoder = encoder_prefix(model)
    wanted = model.state_dict()
    fitting = {}
    for name, value in wanted.items():
        if not with_head and not name.startswith(around_encoder):
            continue
        tensor = by_short_name.get(name.removeprefix(prefix))
        if tensor is not None and tensor.shape == value.shape:
            fitting[name] = tensor
    has_head = any(name.startswith(prefix) for name in wanted)
    encoder = [name for name in wanted if name.startswith(prefix) or not has_head]
    if not any(name.startswith(POOLER) for name in by_short_name):
        # An `Embedder` was saved without one.
        encoder = [name for name in encoder if not name.startswith((POOLER, prefix + POOLER))]
    # Buffers that a class computes for itself (rotary frequencies) lie in no file.
    trained = dict(model.named_parameters(remove_duplicate=False))
    # A table that encoder and decoder share lies in the file by one of its names.
    given = {id(trained[name]) for name in fitting if name in trained}
    is_tied = {name for name, parameter in trained.items() if id(parameter) in given}
    unfilled = [name for name in wanted if name not in fitting and name not in is_tied]
    missing = [name for name in unfilled if name in trained and name in encoder]
    if missing:
        raise ValueError(
            f"the weights of {type(model).__name__} do not fit {structure.FILE}: `{missing[0]}`"
        )
    model.load_state_dict(fitting, strict=False)
    return unfilled
