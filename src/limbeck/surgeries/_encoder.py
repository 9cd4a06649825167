"""The layers of a transformers encoder by their structure, not by class.

A layer has six linear layers, in the order query, key, value, output projection, first and second
feed-forward layer. They are known by their shapes, and the module around the first three says the
size of a head.
"""

from typing import NamedTuple

from torch import nn

# The attribute of attention modules that says the size of a head.
HEAD_SIZE = "attention_head_size"


class PartGroup(NamedTuple):
    """Parts of a layer that can be cut: its heads, or its feed-forward units.

    `reads`: the linear layer that reads them, `size` neighbouring columns of its weight each.
    `makes`: the linear layers that make them, by as many rows. All by name.
    """

    reads: str
    makes: tuple[str, ...]
    size: int


class EncoderLayer(NamedTuple):
    """`attention`: the name of the module that holds query, key and value."""

    attention: str
    heads: PartGroup
    units: PartGroup


def layer_of(model: nn.Module, name: str) -> EncoderLayer:
    """A layer's linear layers by what they do. Raises ValueError where it is built otherwise."""
    linear = {}
    for inner, module in model.get_submodule(name).named_modules():
        if isinstance(module, nn.Linear):
            linear[inner] = module
    shapes = [tuple(module.weight.shape) for module in linear.values()]
    if not are_encoder_shapes(shapes):
        kind = type(model).__name__
        shown = [f"{inner} {shape}" for inner, shape in zip(linear, shapes, strict=True)]
        raise ValueError(
            f"prune_width: the layer `{name}` of {kind} is not made of query, key, value, output, "
            "first and second feed-forward layer: "
            f"its linear layers are {', '.join(shown) or 'none'}. "
            "Such encoders are BERT, RoBERTa, ELECTRA, DistilBERT, MPNet. Take drop_layers"
        )
    # Modules come in the order in which the layer's code makes them, which is that of its forward
    # in all of these families.
    query, key, value, output, first, second = (f"{name}.{inner}" for inner in linear)
    attention = query.rpartition(".")[0]
    head_size = vars(model.get_submodule(attention)).get(HEAD_SIZE)
    width_of_heads = shapes[0][0]
    # A guess from the width alone could cut heads in the middle.
    if head_size is None or width_of_heads % head_size:
        raise ValueError(
            f"prune_width: `{attention}` of {type(model).__name__} does not say the size of its "
            f"heads ({HEAD_SIZE})"
        )
    heads = PartGroup(output, (query, key, value), head_size)
    # A unit is one column: nothing holds neighbours together.
    units = PartGroup(second, (first,), 1)
    return EncoderLayer(attention, heads, units)


def are_encoder_shapes(shapes: list[tuple[int, ...]]) -> bool:
    """Whether weights of these shapes can be query, key, value, output, first and second layer."""
    if len(shapes) != 6:
        return False
    query, key, value, output, first, second = shapes
    return query == key == value and output == query[::-1] and second == first[::-1]
