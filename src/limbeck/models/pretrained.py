"""A pretrained model of `transformers` with the head of a task, from a folder or the hub.

A model that a surgery cut is rebuilt first: its folder holds structure.json (`models.structure`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from limbeck.models import structure
from limbeck.models.attention import make_masks_without_waits
from limbeck.models.embedder import Embedder
from limbeck.models.hub import having, locate, quiet, reading
from limbeck.models.weights import WEIGHTS
from limbeck.tasks import SelfSupervised

# The name of the layer on top of BERT-like encoders that turns the first token into a summary.
POOLER = "pooler."


def from_transformers(name: str, task: Any) -> nn.Module:
    """A pretrained model with the task's head, in float32.

    A head that was tuned for the same labels keeps its weights, in the order of the task's labels;
    any other is drawn anew by torch's random generator.

    Raises ValueError for a folder or hub id that cannot be read, or a model that has no form for
    the task.
    """
    import transformers

    make_masks_without_waits()
    is_headless = task.auto_model == "AutoModel"
    # The labels of a self-supervised task are the model's own vocabulary.
    has_labels = not (is_headless or isinstance(task, SelfSupervised))
    with reading(name), quiet():
        config = transformers.AutoConfig.from_pretrained(locate(name), trust_remote_code=False)
        is_tuned = not has_labels or set(config.id2label.values()) == set(task.labels)
        if not is_tuned:
            name_labels(config, task.labels)
        with having(name, task.auto_model):
            model = read_weights(name, task.auto_model, config, is_tuned=is_tuned)
        if config.model_type == "efficientnet":
            # Its pooling window is larger than the map that it pools, which torch takes for the
            # mean of the whole map and runtimes refuse.
            model.efficientnet.pooler = nn.AdaptiveAvgPool2d(1)
    if is_headless:
        return Embedder(model)
    if not has_labels:
        return model
    head_labels = [config.id2label[index] for index in range(len(task.labels))]
    return reorder_head(model, head_labels, task.labels)


def name_labels(config: Any, labels: Sequence[str]) -> None:
    """Write the labels, in this order, to a config of transformers."""
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}


def read_weights(
    name: str,
    auto_model: str,
    config: Any,
    *,
    is_tuned: bool,
) -> Any:
    """A model of the class `auto_model` of transformers with the weights of the folder or hub id.

    `is_tuned`: False lets a head of another size be drawn anew.
    """
    import transformers

    auto = getattr(transformers, auto_model)
    # Eager attention is plain torch operations, which the exporters and the probes can follow.
    settings = {"attn_implementation": "eager", "dtype": torch.float32}
    edits = structure.read(Path(locate(name)))
    if not edits:
        return auto.from_pretrained(
            locate(name),
            config=config,
            ignore_mismatched_sizes=not is_tuned,
            trust_remote_code=False,
            **settings,
        )
    model = auto.from_config(config, trust_remote_code=False, **settings)
    structure.apply(model, edits_for(model, edits))
    # By our own hand: `from_pretrained` would refuse shapes that its config does not tell.
    fill(model, load_file(Path(locate(name)) / WEIGHTS))
    return model


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


def fill(model: Any, tensors: Mapping[str, torch.Tensor]) -> None:
    """Copy the weights of a folder into a cut model, by name with or without the encoder's prefix.

    A head of another task or of other labels stays new, and so does a pooler that the folder lacks.

    Raises ValueError where a tensor of the encoder is missing or has another shape.
    """
    prefix = f"{model.base_model_prefix}."
    by_short_name = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    wanted = model.state_dict()
    fitting = {}
    for name, value in wanted.items():
        tensor = by_short_name.get(name.removeprefix(prefix))
        if tensor is not None and tensor.shape == value.shape:
            fitting[name] = tensor
    has_head = any(name.startswith(prefix) for name in wanted)
    encoder = [name for name in wanted if name.startswith(prefix) or not has_head]
    if not any(name.startswith(POOLER) for name in by_short_name):
        # An `Embedder` was saved without one.
        encoder = [name for name in encoder if not name.startswith((POOLER, prefix + POOLER))]
    missing = [name for name in encoder if name not in fitting]
    if missing:
        raise ValueError(
            f"the weights of {type(model).__name__} do not fit {structure.FILE}: `{missing[0]}`"
        )
    model.load_state_dict(fitting, strict=False)


def reorder_head(
    model: nn.Module,
    head_labels: Sequence[str],
    wanted_labels: Sequence[str],
) -> nn.Module:
    """Let the outputs of a tuned classifier, named by `head_labels`, follow `wanted_labels`."""
    if list(head_labels) == list(wanted_labels):
        return model
    # For each wanted output, the old one that answers for the label.
    order = [list(head_labels).index(label) for label in wanted_labels]
    candidates = []
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.out_features == len(head_labels):
            candidates.append(module)
    # Modules come in the order of the forward, so the classifier is the last that fits.
    head = candidates[-1]
    with torch.no_grad():
        head.weight.copy_(head.weight[order].clone())
        if head.bias is not None:
            head.bias.copy_(head.bias[order].clone())
    name_labels(model.config, wanted_labels)
    return model
