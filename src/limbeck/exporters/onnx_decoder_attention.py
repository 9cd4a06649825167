"""Attention in a decoder's graph, and how the graph keeps the keys and values of earlier tokens.

In float, GroupQueryAttention keeps them itself: it turns queries and keys (rotary embeddings) and
writes what is new behind what is old.

In int8, each head of a token has a scale of its own, an fp16 number, as the model was trained
(`quantization.modules.kv_cache`):

    codes = round(x / s),  s = max |x| / 127,  kept as codes and half(s),  read as codes half(s)

No operator of ONNX Runtime keeps such scales on a CPU (1.32 has static ones, for GPUs): the graph
rounds and keeps by itself, and GroupQueryAttention is given all earlier tokens anew, of one layer
at a time. The cache is a buffer of C tokens, of which P are filled; inputs and outputs are

    past_key_values.N.codes (B, 2 H, C, D) int8, past_key_values.N.scales (B, 2 H, C, 1) float16
    -> present.N.codes, present.N.scales, of the same shapes: the new tokens stand at P .. P + T

with the heads of the keys first, then those of the values: both are rounded by the same nodes. An
output may be bound to the memory of its input, and then only the new tokens are written.

Shapes: B rows, T new tokens, P earlier ones, C tokens that the buffer holds, H heads of keys, D
their width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from limbeck.core.grids import GRIDS
from limbeck.exporters.decoders.shape import Shape
from limbeck.exporters.onnx_decoder_nodes import MICROSOFT, GraphWriter

# `TensorProto`'s numbers of types.
FLOAT = 1
INT8 = 3
INT32 = 6
FLOAT16 = 10


def kept_of_layer(shape: Shape) -> list[tuple[str, int, int, int]]:
    """(name, type, heads, width) of each tensor that a layer keeps of its tokens."""
    heads, width = shape.key_heads, shape.head_width
    if shape.kv_cache == "float":
        return [("key", FLOAT, heads, width), ("value", FLOAT, heads, width)]
    return [("codes", INT8, 2 * heads, width), ("scales", FLOAT16, 2 * heads, 1)]


def write_rotary(writer: GraphWriter, model: Any, shape: Shape) -> tuple[str, str]:
    """(cosines, sines), each (positions, D / 2), as the model itself computes them: whatever its
    config says of stretched contexts is in them (Su et al., 2021, arXiv 2104.09864, 3.2)."""
    import torch

    # The rest of the model is not asked: one token of zeros stands for its hidden states.
    places = torch.arange(shape.positions)[None]
    with torch.no_grad():
        angles = model.model.rotary_emb(torch.zeros(1, 1, shape.width), places)
    names = []
    for name, values in zip(("cos_cache", "sin_cache"), angles, strict=True):
        # Both halves of the width turn by the same angles; the operator takes one.
        half = values[0, :, : shape.head_width // 2].float().numpy()
        names.append(writer.constant(name, half))
    return names[0], names[1]


@dataclass(frozen=True)
class AttentionWriter:
    """Writes the attention of each layer. What all layers share is written with the first.

    rotary: what `write_rotary` gives; empty where a model has no rotary embeddings.
    """

    writer: GraphWriter
    shape: Shape
    rotary: Sequence[str] = ()

    def layer(self, number: int, projections: Sequence[str]) -> str:
        """(B, T, width of all heads): attention of a layer over earlier tokens and new ones.

        projections: queries, keys and values, or the one tensor in which they lie side by side.
        """
        if self.shape.kv_cache == "int8":
            return self.layer_of_int8(number, projections)
        parts = [*projections, "", ""][:3]
        past = [f"past_key_values.{number}.key", f"past_key_values.{number}.value"]
        present = [f"present.{number}.key", f"present.{number}.value"]
        # It turns queries and keys itself, by the places that follow from the lengths.
        return self.attend([*parts, *past, *self.lengths, *self.rotary], number, present)

    def attend(self, inputs: Sequence[str], number: int, present: Sequence[str]) -> str:
        """The operator that multiplies; it turns keys where it is given what `write_rotary` gave,
        behind its seven other inputs."""
        return self.writer.node(
            "GroupQueryAttention",
            inputs,
            [f"attention_{number}", *present],
            domain=MICROSOFT,
            num_heads=self.shape.heads,
            kv_num_heads=self.shape.key_heads,
            do_rotary=int(len(inputs) > 7),
            scale=self.shape.head_width**-0.5,
        )

    # Lengths.

    @cached_property
    def lengths(self) -> tuple[str, str]:
        """(the last position of each row, the number of all tokens), as the attention asks for
        them."""
        writer = self.writer
        one = writer.constant("one", np.array([1], np.int64))
        # A row may be padded on its right: it ends with its last token that is none.
        counts = writer.node("ReduceSum", ["attention_mask", one], keepdims=0)
        last = writer.node("Sub", [counts, one])
        lasts = writer.node("Cast", [last], to=INT32)
        nothing = writer.constant("scalar", np.array([], np.int64))
        counted = writer.node("Cast", [self.all_tokens], to=INT32)
        return lasts, writer.node("Reshape", [counted, nothing])

    @cached_property
    def all_tokens(self) -> str:
        """(1) P + T."""
        return self.writer.node("Shape", ["attention_mask"], start=1, end=2)

    @cached_property
    def earlier_tokens(self) -> str:
        """(1) P."""
        new = self.writer.node("Shape", ["input_ids"], start=1, end=2)
        return self.writer.node("Sub", [self.all_tokens, new])

    @cached_property
    def new_places(self) -> str:
        """(1, 1, T, 1) the places in the buffer of the tokens that are read now: P .. P + T."""
        writer = self.writer
        nothing = writer.constant("scalar", np.array([], np.int64))
        first = writer.node("Reshape", [self.earlier_tokens, nothing])
        end = writer.node("Reshape", [self.all_tokens, nothing])
        step = writer.constant("step", np.array(1, np.int64))
        places = writer.node("Range", [first, end, step])
        return writer.node("Reshape", [places, writer.numbers("shape_of_places", 1, 1, -1, 1)])

    # A cache of int8.

    def layer_of_int8(self, number: int, projections: Sequence[str]) -> str:
        """As `layer`: what is new is rounded, multiplied with, and written behind what is old."""
        query, both = self.turned(projections)
        # 1. What is new, on its levels.
        codes, scales, values = self.rounded(both)
        new_key, new_value = f"new_keys_{number}", f"new_values_{number}"
        self.writer.node("Split", [values], [new_key, new_value], axis=-1, num_outputs=2)
        # 2. What is old, which the operator takes as floats, of this layer alone.
        old_key = self.earlier(number, "keys")
        old_value = self.earlier(number, "values")
        # 3. Attention. The keys and values of all tokens that it gives are read by nobody.
        unread = [f"all_keys_{number}", f"all_values_{number}"]
        inputs = [query, new_key, new_value, old_key, old_value, *self.lengths]
        mixed = self.attend(inputs, number, unread)
        # 4. The new tokens' places in the buffer.
        self.write_new(codes, f"{number}.codes")
        self.write_new(scales, f"{number}.scales")
        return mixed

    def turned(self, projections: Sequence[str]) -> tuple[str, str]:
        """(queries, keys and values side by side), turned by their places where the model does."""
        writer, width = self.writer, self.shape.head_width
        if len(projections) == 1:
            sizes = [self.shape.heads * width, 2 * self.shape.key_heads * width]
            query = f"queries_{len(writer.nodes)}"
            both = f"keys_values_{len(writer.nodes)}"
            parts = writer.numbers("sizes_of_packed", *sizes)
            writer.node("Split", [projections[0], parts], [query, both], axis=-1)
            return query, both
        query, key, value = projections
        if self.rotary:
            query, key = self.rotated(query), self.rotated(key)
        return query, writer.node("Concat", [key, value], axis=-1)

    def rotated(self, heads: str) -> str:
        """Queries or keys, turned by the places from P on."""
        inputs = [heads, self.earlier_tokens, *self.rotary]
        return self.writer.node("RotaryEmbedding", inputs, domain=MICROSOFT)

    def rounded(self, both: str) -> tuple[str, str, str]:
        """Keys and values (B, T, 2 H D) as codes and scales (B, T, 2 H, D or 1), and as what these
        stand for, in the shape that was given."""
        writer = self.writer
        # Each head of a token by itself.
        shape = writer.numbers("shape_of_heads", 0, 0, 2 * self.shape.key_heads, -1)
        heads = writer.node("Reshape", [both, shape])
        sizes = writer.node("Abs", [heads])
        largest = writer.node("ReduceMax", [sizes, writer.numbers("last_axis", -1)], keepdims=1)
        highest = writer.constant("highest_code", np.array(GRIDS["int8"].high, np.float32))
        steps = writer.node("Div", [largest, highest])
        # A head of zeros has no range; the smallest scale keeps 0 / scale finite.
        smallest = writer.constant("smallest", np.array(np.finfo(np.float32).tiny))
        scale = writer.node("Max", [steps, smallest])
        # Counted in the float32 scale, and multiples of the stored one, as in training.
        counted = writer.node("Round", [writer.node("Div", [heads, scale])])
        codes = writer.node("Cast", [counted], to=INT8)
        stored = writer.node("Cast", [scale], to=FLOAT16)
        values = writer.node("Mul", [counted, writer.node("Cast", [stored], to=FLOAT)])
        flat = writer.node("Reshape", [values, writer.numbers("shape_of_width", 0, 0, -1)])
        return codes, stored, flat

    def earlier(self, number: int, part: str) -> str:
        """(B, H, P, D) the keys or the values that the buffer of a layer holds, as floats."""
        codes = self.filled(f"past_key_values.{number}.codes", part)
        scales = self.filled(f"past_key_values.{number}.scales", part)
        # As rows of one head of one token: a scale for each row is what the operator is fast at. A
        # product of two tensors takes twice as long here, a scale for each block three times.
        width = self.writer.numbers("rows_of_heads", -1, self.shape.head_width)
        rows = self.writer.node("Reshape", [codes, width])
        steps = self.writer.node("Cast", [scales], to=FLOAT)
        step_of_row = self.writer.node("Reshape", [steps, self.writer.numbers("last_axis", -1)])
        values = self.writer.node("DequantizeLinear", [rows, step_of_row], axis=0)
        return self.writer.node(
            "Reshape", [values, self.writer.node("Shape", [codes])], allowzero=1
        )

    def filled(self, name: str, part: str) -> str:
        """The heads of keys or values, up to where the buffer of that name is filled."""
        heads = self.shape.key_heads
        first, end = (0, self.end_of_keys) if part == "keys" else (heads, self.end_of_values)
        start = self.writer.numbers(f"start_of_{part}", first, 0)
        axes = self.writer.numbers("axes_of_heads_and_places", 1, 2)
        return self.writer.node("Slice", [name, start, end, axes])

    @cached_property
    def end_of_keys(self) -> str:
        """(2) heads and places before which the keys of earlier tokens end."""
        heads = self.writer.numbers("heads_of_keys", self.shape.key_heads)
        return self.writer.node("Concat", [heads, self.earlier_tokens], axis=0)

    @cached_property
    def end_of_values(self) -> str:
        """The same of their values."""
        heads = self.writer.numbers("heads_of_both", 2 * self.shape.key_heads)
        return self.writer.node("Concat", [heads, self.earlier_tokens], axis=0)

    def write_new(self, new: str, name: str) -> None:
        """Write (B, T, 2 H, ..) of the new tokens into the buffer of that name."""
        writer = self.writer
        by_head = writer.node("Transpose", [new], perm=[0, 2, 1, 3])
        places = writer.node("Expand", [self.new_places, writer.node("Shape", [by_head])])
        buffer = [f"past_key_values.{name}", places, by_head]
        writer.node("ScatterElements", buffer, [f"present.{name}"], axis=2)
