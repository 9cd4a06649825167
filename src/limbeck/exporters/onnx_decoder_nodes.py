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
        self, weights: Mapping[str, Array], codes: Mapping[str, Codes], activations: str
    ) -> None:
        self.weights = weights
        self.codes = codes
        self.accuracy_level = ACCURACY_LEVELS[activations]
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def node(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str] | None = None, **keys: Any
    ) -> str:
        """Add a node; the name of its first output."""
        from onnx import helper

        # By number: a name that tells the layer is not needed, and would have to be made up.
        named = list(outputs or [f"{kind}_{len(self.nodes)}"])
        made = helper.make_node(kind, list(inputs), named)
        domain = keys.pop("domain", None)
        if domain is not None:
            made.domain = domain
        made.attribute.extend(helper.make_attribute(key, value) for key, value in keys.items())
        self.nodes.append(made)
        return named[0]

    def constant(self, name: str, value: Array) -> str:
        """Add a tensor, once; its name."""
        from onnx import numpy_helper

        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def weight(self, name: str) -> str:
        """Add a float weight as the model has it."""
        return self.constant(name, self.weights[name].astype(np.float32))

    # Products.

    def linear(self, hidden: str, weight: str, bias: str | None = None) -> str:
        """(B, T, D) times a weight (out, in)."""
        if weight in self.codes:
            product = self.integer_product(hidden, weight)
        else:
            # The one that the embedding gathers from may be it: it lies in the file once.
            transposed = self.node("Transpose", [self.weight(weight)], perm=[1, 0])
            product = self.node("MatMul", [hidden, transposed])
        return self.plus(product, bias)

    def transposed_linear(self, hidden: str, weight: str, bias: str | None = None) -> str:
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
        if not any(name in node.output for node in self.nodes):
            self.node("Cast", [halves], [name], to=1)
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
        codes = self.node("Cast", [self.unpacked(rows, bits)], to=1)
        zero = self.constant(f"zero_{bits}", np.array(ZERO_POINTS[bits], np.float32))
        centred = self.node("Sub", [codes, zero])
        row_scales = self.node("Gather", [scales, ids])
        last = self.constant("last_axis", np.array([-1], np.int64))
        column = self.node("Unsqueeze", [row_scales, last])
        values = self.node("Mul", [centred, column])
        width = self.codes[weight].codes.shape[1]
        shape = self.constant("shape_of_rows", np.array([0, 0, width], np.int64))
        return self.node("Reshape", [values, shape])

    def unpacked(self, packed: str, bits: int) -> str:
        """(B, T, G, bytes) to one code a byte, (B, T, G, 32)."""
        if bits == 8:
            return packed
        mask = self.constant("low_nibble", np.array(15, np.uint8))
        shift = self.constant("nibble", np.array(4, np.uint8))
        last = self.constant("last_axis", np.array([-1], np.int64))
        low = self.node("BitwiseAnd", [packed, mask])
        high = self.node("BitShift", [packed, shift], direction="RIGHT")
        pairs = []
        for half in (low, high):
            pairs.append(self.node("Unsqueeze", [half, last]))
        joined = self.node("Concat", pairs, axis=-1)
        shape = self.constant("shape_of_groups", np.array([0, 0, -1, GROUP], np.int64))
        return self.node("Reshape", [joined, shape])

    # Between the products.

    def rms_norm(self, hidden: str, weight: str, epsilon: float) -> str:
        """RMSNorm over the width."""
        inputs = [hidden, self.weight(weight)]
        return self.node("SimplifiedLayerNormalization", inputs, axis=-1, epsilon=epsilon)

    def layer_norm(self, hidden: str, name: str, epsilon: float) -> str:
        """Layer normalization over the width, with a bias."""
        inputs = [hidden, self.weight(f"{name}.weight"), self.weight(f"{name}.bias")]
        return self.node("LayerNormalization", inputs, axis=-1, epsilon=epsilon)

    def activation(self, hidden: str, name: str) -> str:
        """The activation that a config names; it is in `ACTIVATIONS`."""
        if name in ("silu", "swish"):
            gate = self.node("Sigmoid", [hidden])
            return self.node("Mul", [hidden, gate])
        approximate = "none" if name == "gelu" else "tanh"
        return self.node("Gelu", [hidden], approximate=approximate)


ACTIVATIONS = ("silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh")


def pack(codes: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """(out, in) codes to MatMulNBits' (out, G, bytes of a group): two of four bits in a byte, the
    first in its lower half."""
    rows, columns = codes.shape
    shifted = (codes.astype(np.int16) + ZERO_POINTS[bits]).astype(np.uint8)
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
        codes = np.stack([packed & 15, packed >> 4], -1).reshape(*packed.shape[:2], GROUP)
    signed = codes.astype(np.int16) - ZERO_POINTS[bits]
    return signed.reshape(len(packed), -1).astype(np.int8)
