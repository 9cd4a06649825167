"""Attention in OpenVINO's standard operators, and the keys and values that a model keeps.

Earlier keys and values are a state of the model: a variable that is read, put into the order of
`beam_idx` (which row goes on with which, of beam search), grown by the new tokens and written back.
That is the form that OpenVINO GenAI looks for: it makes paged attention of it, or runs it as it is.

    keys (B, H, P, D) = ReadValue -> Gather by beam_idx -> Concat new -> Assign

Rotary embeddings (Su et al., 2021, arXiv 2104.09864, 3.2) turn pairs a half width apart by
place x frequency. Shapes: B rows, T new tokens, P earlier ones, H heads of keys, D their width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from limbeck.exporters.decoders.openvino_nodes import NodeWriter
from limbeck.exporters.decoders.shape import Shape

if TYPE_CHECKING:
    from openvino import Node

# Rotary embeddings whose frequencies are the same for texts of every length.
FIXED_ROTARY = ("default", "linear", "llama3", "yarn")


@dataclass(frozen=True)
class Rotary:
    """`frequencies` (D / 2) of a place, in radians; `scale` of cosines and sines."""

    frequencies: NDArray[np.float32]
    scale: float


def rotary_of(model: Any) -> Rotary | None:
    """As the model computes them, whatever its config says of stretched contexts; None of a model
    without. Raises ValueError where they depend on the length of a text."""
    if model.config.model_type == "gpt2":
        return None
    module = model.model.rotary_emb
    if module.rope_type not in FIXED_ROTARY:
        raise ValueError(
            f"the model's rotary embedding (`rope_type: {module.rope_type}`) depends on the length "
            "of a text, which the graph for OpenVINO GenAI does not do. Leave `openvino_genai` "
            "out of `export`"
        )
    frequencies = module.inv_freq.detach().float().numpy()
    return Rotary(frequencies, float(module.attention_scaling))


@dataclass(frozen=True)
class AttentionWriter:
    """Writes the attention of each layer. What all layers share is written with the first.

    `sinks`: what writes the states, one node for keys and one for values of each layer.
    """

    writer: NodeWriter
    shape: Shape
    rotary: Rotary | None
    sinks: "list[Node]" = field(default_factory=list)

    def layer(self, number: int, projections: "Sequence[Node]") -> "Node":
        """(B, T, width of all heads): attention of a layer over earlier tokens and new ones.

        projections: queries, keys and values, or the one tensor in which they lie side by side.
        """
        ops, sizes = self.writer.ops, self.shape
        if len(projections) == 1:
            projections = ops.split(projections[0], self.writer.number(-1), 3).outputs()
        query = self.turned(self.by_head(projections[0], sizes.heads))
        key = self.turned(self.by_head(projections[1], sizes.key_heads))
        value = self.by_head(projections[2], sizes.key_heads)
        mixed = ops.scaled_dot_product_attention(
            query,
            self.for_all_heads(self.kept(f"{number}.key", key)),
            self.for_all_heads(self.kept(f"{number}.value", value)),
            self.mask,
            self.writer.float_number(sizes.head_width**-0.5),
        )
        side_by_side = self.writer.numbers(0, 0, sizes.heads * sizes.head_width)
        by_token = ops.transpose(mixed, self.writer.numbers(0, 2, 1, 3))
        return ops.reshape(by_token, side_by_side, special_zero=True)

    def by_head(self, tensor: "Node", heads: int) -> "Node":
        """(B, T, width of all heads) to (B, heads, T, D)."""
        shape = self.writer.numbers(0, 0, heads, self.shape.head_width)
        parted = self.writer.ops.reshape(tensor, shape, special_zero=True)
        return self.writer.ops.transpose(parted, self.writer.numbers(0, 2, 1, 3))

    def for_all_heads(self, tensor: "Node") -> "Node":
        """(B, H, P + T, D) for as many heads as there are of queries: neighbours share one."""
        ops, sizes = self.writer.ops, self.shape
        times = sizes.heads // sizes.key_heads
        if times == 1:
            return tensor
        apart = ops.unsqueeze(tensor, self.writer.number(2))
        copies = self.writer.numbers(1, 1, times, 1, 1)
        repeated = ops.broadcast(apart, copies, broadcast_spec="BIDIRECTIONAL")
        shape = self.writer.numbers(0, sizes.heads, -1, sizes.head_width)
        return ops.reshape(repeated, shape, special_zero=True)

    # Rotary embeddings.

    def turned(self, heads: "Node") -> "Node":
        """Queries or keys, turned by their places where the model does so."""
        if self.angles is None:
            return heads
        cosines, sines = self.angles
        ops = self.writer.ops
        first, second = ops.split(heads, self.writer.number(-1), 2).outputs()
        crossed = ops.concat([ops.negative(second), first], -1)
        return ops.add(ops.multiply(heads, cosines), ops.multiply(crossed, sines))

    @cached_property
    def angles(self) -> "tuple[Node, Node] | None":
        """(cosines, sines), each (B, 1, T, D), of the places that are read."""
        if self.rotary is None:
            return None
        ops = self.writer.ops
        # In float32: half of that does not hold the places of a long text.
        places = ops.convert(self.writer.inputs["position_ids"], "f32")
        column = ops.unsqueeze(places, self.writer.numbers(1, 3))
        frequencies = ops.constant(self.rotary.frequencies.reshape(1, 1, 1, -1))
        angles = ops.multiply(column, frequencies)
        # Both halves of the width turn by the same angles.
        whole = ops.concat([angles, angles], -1)
        cosines, sines = ops.cos(whole), ops.sin(whole)
        if self.rotary.scale == 1:
            return cosines, sines
        scale = self.writer.float_number(self.rotary.scale)
        return ops.multiply(cosines, scale), ops.multiply(sines, scale)

    # What is kept.

    def kept(self, name: str, new: "Node") -> "Node":
        """(B, H, P + T, D) earlier keys or values and new ones, which the state then holds."""
        import openvino

        ops = self.writer.ops
        info = openvino.op.util.VariableInfo()
        sizes = [-1, self.shape.key_heads, -1, self.shape.head_width]
        info.data_shape = openvino.PartialShape(sizes)
        info.data_type = openvino.Type.f32
        # As everybody names them who exports such models: past and present.
        info.variable_id = f"past_key_values.{name}present.{name}"
        variable = openvino.op.util.Variable(info)
        earlier = openvino.op.read_value(self.nothing, variable)
        ordered = ops.gather(earlier, self.writer.inputs["beam_idx"], self.writer.number(0))
        both = ops.concat([ordered, new], 2)
        self.sinks.append(openvino.op.assign(both, variable))
        return both

    @cached_property
    def nothing(self) -> "Node":
        """(B, H, 0, D): what a state holds before the first token."""
        ops = self.writer.ops
        heads = self.writer.numbers(self.shape.key_heads, 0, self.shape.head_width)
        shape = ops.concat([self.length("input_ids", 0), heads], 0)
        return ops.broadcast(self.writer.float_number(0), shape)

    def length(self, name: str, axis: int) -> "Node":
        """(1) the length of an input along an axis."""
        ops = self.writer.ops
        lengths = ops.shape_of(self.writer.inputs[name], "i64")
        return ops.gather(lengths, self.writer.numbers(axis), self.writer.number(0))

    @cached_property
    def mask(self) -> "Node":
        """(B, 1, T, P + T): 0 where a token may look, and the lowest number elsewhere: at what
        comes behind it, and at padding."""
        ops, number = self.writer.ops, self.writer.number
        total = self.length("attention_mask", 1)
        earlier = ops.subtract(total, self.length("input_ids", 1))
        alone = [ops.squeeze(each, number(0)) for each in (earlier, total)]
        # Place of each new token, and of all tokens.
        rows = ops.unsqueeze(ops.range(alone[0], alone[1], number(1), "i64"), number(1))
        columns = ops.range(number(0), alone[1], number(1), "i64")
        is_before = ops.less_equal(columns, rows)
        is_text = ops.not_equal(self.writer.inputs["attention_mask"], number(0))
        apart = ops.unsqueeze(is_text, self.writer.numbers(1, 2))
        is_seen = ops.logical_and(is_before, apart)
        lowest = self.writer.float_number(float(np.finfo(np.float32).min))
        return ops.select(is_seen, self.writer.float_number(0), lowest)
