"""The layers of a transformers encoder by their structure, not by class: six linear layers in a layer, in the order query, key, value, output
projection, first and second feed-forward layer, known by shape; the first three in one module, which knows the size of a head."""

from typing import NamedTuple

from torch import nn


class Group(NamedTuple):
    """Parts of `size` neighbouring columns that one linear layer reads, and the layers that make them: all by name."""

    reads: str
    makes: tuple[str, ...]
    size: int


class Layer(NamedTuple):
    """`attention`: the module that holds query, key and value."""

    attention: str
    heads: Group
    units: Group


def layer_of(model: nn.Module, name: str) -> Layer:
    """A layer's linear layers by what they do. Raises ValueError where it has others."""
    linear = {
        each: module
        for each, module in model.get_submodule(name).named_modules()
        if isinstance(module, nn.Linear)
    }
    shapes = [tuple(module.weight.shape) for module in linear.values()]
    if (
        len(shapes) != 6
        or shapes[:3] != [shapes[0]] * 3
        or shapes[3] != shapes[0][::-1]
        or shapes[5] != shapes[4][::-1]
    ):
        raise ValueError(
            f"prune_width: the layer `{name}` of {type(model).__name__} is not made of query, key, value, output, first and second feed-forward "
            f"layer: its linear layers are {', '.join(f'{each} {shape}' for each, shape in zip(linear, shapes, strict=True)) or 'none'}. "
            "Such encoders are BERT, RoBERTa, ELECTRA, DistilBERT, MPNet. Take drop_layers"
        )
    query, key, value, output, first, second = (f"{name}.{each}" for each in linear)
    attention = query.rpartition(".")[0]
    size = vars(model.get_submodule(attention)).get("attention_head_size")
    if size is None or shapes[0][0] % size:
        raise ValueError(
            f"prune_width: `{attention}` of {type(model).__name__} does not say the size of its heads (attention_head_size)"
        )
    return Layer(attention, Group(output, (query, key, value), size), Group(second, (first,), 1))
