"""Whether the head of a pretrained classifier was tuned for the labels of a task, and in which
order.

A head knows its outputs by the names in its config (`id2label`). Names say what an output means;
its number does not: `LABEL_0`, which `transformers` writes where nobody gave names, could be any
label.
"""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from limbeck.core.wording import some

# What `transformers` calls an output without a name.
UNNAMED = re.compile(r"LABEL_\d+")


def are_names(names: Sequence[str]) -> bool:
    """Whether outputs have names of their own, and not what stands where nobody gave any."""
    return not all(UNNAMED.fullmatch(name) for name in names)


def matched_names(names: Sequence[str], labels: Sequence[str]) -> list[str] | None:
    """The task's label of each output of a head, by the outputs' names; None where they are others.

    Names that differ from labels by case alone are taken for them.

    Example:
        >>> matched_names(["Weather", "call"], ["call", "weather"])
        ['weather', 'call']
        >>> matched_names(["LABEL_0", "LABEL_1"], ["LABEL_0", "LABEL_1"]) is None
        True
    """
    if not are_names(names):
        return None
    if sorted(names) == sorted(labels):
        return list(names)
    by_folded = {label.casefold(): label for label in labels}
    folded = [name.casefold() for name in names]
    # Two labels, or two names, that differ by case alone are not told apart so.
    if len(by_folded) < len(labels) or sorted(folded) != sorted(by_folded):
        return None
    return [by_folded[name] for name in folded]


def names_of(config: Any) -> list[str]:
    """The names of a head's outputs, in their order; none where the config has null for them."""
    names = config.id2label or {}
    return [str(names[index]) for index in sorted(names)]


def name_labels(config: Any, labels: Sequence[str]) -> None:
    """Write the labels, in this order, to a config of transformers."""
    if config.num_labels != len(labels):
        # Mostly it counts the names below; PVT's is a number of its own.
        config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}


def why_new(names: Sequence[str], labels: Sequence[str]) -> str:
    """Why a head of outputs with these `names` does not answer for `labels`, in a clause."""
    if not are_names(names):
        return f"config.json does not say what its outputs mean ({some(names)})"
    return f"it was made for {some(names)}, and the data has {some(labels)}"


def reorder_head(
    model: nn.Module,
    head_labels: Sequence[str],
    wanted_labels: Sequence[str],
    prefix: str = "",
) -> nn.Module:
    """Let the outputs of a tuned classifier, named by `head_labels`, follow `wanted_labels`.

    `prefix`: what the names of its encoder's tensors begin with.
    """
    if list(head_labels) != list(wanted_labels):
        # For each wanted output, the old one that answers for the label.
        order = [list(head_labels).index(label) for label in wanted_labels]
        head = last_linear(model, len(head_labels), prefix)
        with torch.no_grad():
            head.weight.copy_(head.weight[order].clone())
            if head.bias is not None:
                head.bias.copy_(head.bias[order].clone())
    name_labels(model.config, wanted_labels)
    return model


def last_linear(model: nn.Module, num_outputs: int, prefix: str) -> nn.Linear:
    """The last linear layer of a head with so many outputs.

    Modules come in the order of the forward, so it is the classifier.

    Raises ValueError for a head of another kind.
    """
    candidates = []
    for name, module in model.named_modules():
        is_inside = bool(prefix) and name.startswith(prefix)
        if not is_inside and isinstance(module, nn.Linear) and module.out_features == num_outputs:
            candidates.append(module)
    if not candidates:
        raise ValueError(
            f"the head of {type(model).__name__} ends in no linear layer, so its outputs cannot be "
            "put into the order of the data's labels. Write config.json's id2label in that order, "
            "with the weights"
        )
    return candidates[-1]
