"""The nodes of a decoder's graph: products with weights of integers, norms, attention.

Three operators are ONNX Runtime's own (domain `com.microsoft`), because no standard one does their
work at their speed: `MatMulNBits` multiplies with integers in groups, `GroupQueryAttention` keeps
the keys and values of earlier tokens, and `SimplifiedLayerNormalization` is RMSNorm (Zhang and
Sennrich, 2019, arXiv 1910.07467, equation 4).

Shapes: B rows, T tokens, D width, H heads, G groups of a weight's input.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

MICROSOFT = "com.microsoft"
# MatMulNBits knows groups of 16, 32, 64 ..; the scales of 32 are those that GGUF has, too.
GROUP = 32
# What MatMulNBits takes for zero where it is given no zero points.
ZERO_POINTS = {4: 8, 8: 128}
# Its `accuracy_level`: the type in which it multiplies.
ACCURACY_LEVELS = {"float": 1, "int8": 4}

# `TensorProto.FLOAT`.
FLOAT = 1

Array = NDArray[Any]


class Codes(Protocol):
    """A weight as integers: `codes` (out, in) int8, `scales` (out, in / 32) float16, `bits`."""

    @property
    def codes(self) -> NDArray[np.int8]: ...

    @property
    def scales(self) -> NDArray[np.float16]: ...

    @property
    def bits(self) -> int: ...


class GraphWriter:
    """Nodes and weights of a graph, in the order in which they were added.

    Args:
        weights: float weights, by their names in the state dict of the transformers model.
        codes: those that are integers, by the same names.
        activations: `float`, or `int8`: rounded by token and group where they meet integers.
    """

    def __init__(
        self,
        weights: Mapping[str, Array],
        codes: Mapping[str, Codes],
        activations: str,
    ) -> None:
        self.weights = weights
        self.codes = codes
        self.accuracy_level = ACCURACY_LEVELS[activations]
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        # Names of scales that were turned into float32.
        self.made: set[str] = set()

    def node(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: Sequence[str] | None = None,
        **keys: Any,
    ) -> str:
        """Add a node; the name of its first output."""
        from onnx import helper

        # By number: a name that tells the layer is not needed, and would have to be made up.
        named = list(outputs or [f"{kind}_{len(self.nodes)}"])
        made = helper.make_node(kind, list(inputs), named)
        domain = keys.pop("domain", None)
        if domain is not None:
            made.domain = domain
        # Not by `make_node` itself, for which a key that is None is one that is left out.
        for key, value in keys.items():
            attribute = helper.make_attribute(key, value)
            made.attribute.append(attribute)
        self.nodes.append(made)
        return named[0]

    def constant(self, name: str, value: Array) -> str:
        """Add a tensor, once; its name."""
        from onnx import numpy_helper

        if name not in self.initializers:
            # A transposed view would be written with its own strides.
            whole = np.ascontiguousarray(value)
            self.initializers[name] = numpy_helper.from_array(whole, name)
        return name

    def weight(self, name: str) -> str:
        """Add a float weight as the model has it."""
        return self.constant(name, self.weights[name].astype(np.float32))

    # Products.

    def linear(
        self,
        hidden: str,
        weight: str,
        bias: str | None = None,
    ) -> str:
        """(B, T, D) times a weight (out, in)."""
        if weight in self.codes:
            product = self.integer_product(hidden, weight)
        else:
            # The one that the embedding gathers from may be it: it lies in the file once.
            transposed = self.node("Transpose", [self.weight(weight)], perm=[1, 0])
            product = self.node("MatMul", [hidden, transposed])
        return self.plus(product, bias)

    def transposed_linear(
        self,
        hidden: str,
        weight: str,
        bias: str | None = None,
    ) -> str:
        """(B, T, D) times a weight that the model keeps as (in, out); its codes are (out, in)."""
        if weight in self.codes:
            product = self.integer_product(hidden, weight)
        else:
            product = self.node("MatMul", [hidden, self.weight(weight)])
        return self.plus(product, bias)

    def plus(self, product: str, bias: str | None) -> str:
        """A product and its bias, where the model has one."""
        if bias is None or bias not in self.weights:
            return product
        return self.node("Add", [product, self.weight(bias)])

    def integer_product(self, hidden: str, weight: str) -> str:
        """A product with integers."""
        packed, scales = self.integers(weight)
        rows, columns = self.codes[weight].codes.shape
        return self.node(
            "MatMulNBits",
            [hidden, packed, scales],
            domain=MICROSOFT,
            K=columns,
            N=rows,
            bits=self.codes[weight].bits,
            block_size=GROUP,
            accuracy_level=self.accuracy_level,
        )

    def integers(self, weight: str) -> tuple[str, str]:
        """The names of a weight's packed codes and of its scales, as float32."""
        each = self.codes[weight]
        packed = self.constant(f"{weight}.codes", pack(each.codes, each.bits))
        halves = self.constant(f"{weight}.scales", each.scales)
        # The file keeps the fp16 numbers; the runtime folds this when it opens the file.
        name = f"{weight}.float_scales"
        if name not in self.made:
            self.made.add(name)
            self.node("Cast", [halves], [name], to=FLOAT)
        return packed, name

    def embedding(self, ids: str, weight: str) -> str:
        """(B, T) ids to (B, T, D) rows of a table."""
        if weight not in self.codes:
            return self.node("Gather", [self.weight(weight), ids])
        # Rows of integers are gathered first: the whole table in float32 would be made at every
        # call. It is the tensor that the output projection multiplies with.
        packed, scales = self.integers(weight)
        rows = self.node("Gather", [packed, ids])
        bits = self.codes[weight].bits
        codes = self.node("Cast", [self.unpacked(rows, bits)], to=FLOAT)
        # Codes lie in the file from 0 on.
        point = np.array(ZERO_POINTS[bits], np.float32)
        zero = self.constant(f"zero_{bits}", point)
        centred = self.node("Sub", [codes, zero])
        # One scale stands for the 32 codes of a group.
        row_scales = self.node("Gather", [scales, ids])
        column = self.with_last_axis(row_scales)
        values = self.node("Mul", [centred, column])
        width = self.codes[weight].codes.shape[1]
        # 0 keeps an axis as it is: rows and tokens vary.
        shape = self.numbers("shape_of_rows", 0, 0, width)
        return self.node("Reshape", [values, shape])

    def numbers(self, name: str, *values: int) -> str:
        """A constant of whole numbers, such as a shape."""
        return self.constant(name, np.array(values, np.int64))

    def with_last_axis(self, tensor: str) -> str:
        """A tensor with one more axis of length 1 behind the others."""
        last = self.numbers("last_axis", -1)
        return self.node("Unsqueeze", [tensor, last])

    def unpacked(self, packed: str, bits: int) -> str:
        """(B, T, G, bytes) to one code a byte, (B, T, G, 32)."""
        if bits == 8:
            return packed
        fifteen = np.array(15, np.uint8)
        four = np.array(4, np.uint8)
        mask = self.constant("low_nibble", fifteen)
        shift = self.constant("nibble", four)
        low = self.node("BitwiseAnd", [packed, mask])
        # OpenVINO rounds here without a word; this graph is ONNX Runtime's alone.
        high = self.node("BitShift", [packed, shift], direction="RIGHT")
        # Side by side: first the lower half of a byte, then the upper one.
        pairs = [self.with_last_axis(low), self.with_last_axis(high)]
        joined = self.node("Concat", pairs, axis=-1)
        shape = self.numbers("shape_of_groups", 0, 0, -1, GROUP)
        return self.node("Reshape", [joined, shape])

    # Between the products.

    def rms_norm(
        self,
        hidden: str,
        weight: str,
        epsilon: float,
    ) -> str:
        """RMSNorm over the width."""
        inputs = [hidden, self.weight(weight)]
        # Without a domain, although it is no operator of the standard.
        kind = "SimplifiedLayerNormalization"
        return self.node(kind, inputs, axis=-1, epsilon=epsilon)

    def layer_norm(
        self,
        hidden: str,
        name: str,
        epsilon: float,
    ) -> str:
        """Layer normalization over the width, with a bias."""
        weight = self.weight(f"{name}.weight")
        bias = self.weight(f"{name}.bias")
        inputs = [hidden, weight, bias]
        return self.node("LayerNormalization", inputs, axis=-1, epsilon=epsilon)

    def add(self, left: str, right: str) -> str:
        """Two tensors, added."""
        return self.node("Add", [left, right])

    def multiply(self, left: str, right: str) -> str:
        """Two tensors, number by number."""
        return self.node("Mul", [left, right])

    def activation(self, hidden: str, name: str) -> str:
        """The activation that a config names (`families.ACTIVATIONS`)."""
        if name in ("silu", "swish"):
            gate = self.node("Sigmoid", [hidden])
            return self.node("Mul", [hidden, gate])
        approximate = "none" if name == "gelu" else "tanh"
        return self.node("Gelu", [hidden], approximate=approximate)


def pack(codes: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """(out, in) codes to MatMulNBits' (out, G, bytes of a group): two of four bits in a byte, the
    first in its lower half."""
    rows, columns = codes.shape
    # In 16 bits, because 127 and 128 together are more than 8 hold.
    wide = codes.astype(np.int16) + ZERO_POINTS[bits]
    shifted = wide.astype(np.uint8)
    groups = shifted.reshape(rows, columns // GROUP, GROUP)
    if bits == 8:
        return groups
    high = np.left_shift(groups[..., 1::2], np.uint8(4))
    return groups[..., 0::2] | high


def unpack(packed: NDArray[np.uint8], bits: int) -> NDArray[np.int8]:
    """What `pack` was given."""
    if bits == 8:
        codes = packed
    else:
        halves = np.stack([packed & 15, packed >> 4], -1)
        codes = halves.reshape(*packed.shape[:2], GROUP)
    signed = codes.astype(np.int16) - ZERO_POINTS[bits]
    return signed.reshape(len(packed), -1).astype(np.int8)
