"""The nodes of a decoder in OpenVINO's standard operators (opset 13), and its weights.

A weight of integers is what OpenVINO calls compressed: its plugins multiply with the codes, and
keep no float copy of them.

    Constant (O, G, 32) i8 or i4 -> Convert f16 -> Multiply (O, G, 1) f16 scales
        -> Reshape (O, I) -> Convert f32 -> MatMul or Gather

What they compute in float32 is codes times scales, exact: the steps in f16 say no more than that
both are f16 numbers. Shapes: B rows, T tokens, D width, O outputs and I inputs of a weight, G
groups of its input.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from limbeck.artifact.group_codes import RANGES, GroupCodes

if TYPE_CHECKING:
    import openvino
    from openvino import Node

CODES = ".codes"
SCALES = ".scales"


class NodeWriter:
    """Nodes of a model, which it holds by what reads them.

    Args:
        weights: float weights, by their names in the state dict of the transformers model.
        codes: those that are integers, by the same names.
        inputs: nodes of the model's inputs, by name.
    """

    def __init__(
        self,
        weights: Mapping[str, NDArray[np.float32]],
        codes: Mapping[str, GroupCodes],
        inputs: "Mapping[str, Node]",
    ) -> None:
        # Optional, and imported once: every node is one of its functions.
        from openvino import opset13

        self.weights = weights
        self.codes = codes
        self.inputs = inputs
        self.ops: Any = opset13

    def numbers(self, *values: int) -> "Node":
        """A constant of whole numbers, such as a shape."""
        return self.ops.constant(np.array(values, np.int64))

    def number(self, value: int) -> "Node":
        """One whole number, without an axis."""
        return self.ops.constant(np.array(value, np.int64))

    def float_number(self, value: float) -> "Node":
        """One float32."""
        return self.ops.constant(np.array(value, np.float32))

    # Weights.

    def weight(self, name: str) -> "Node":
        """A weight as float32: as the model has it, or what its integers stand for."""
        if name in self.codes:
            return self.of_integers(name)
        return self.named(self.ops.constant(self.weights[name]), name)

    def of_integers(self, name: str) -> "Node":
        """(O, I) float32. A second reader gets constants of its own, since both plugins and what
        reads them know the pattern by one reader; of equal ones the file holds one."""
        import openvino

        each = self.codes[name]
        rows, columns = each.codes.shape
        groups = each.scales.shape[1]
        codes = self.named(openvino.op.Constant(integers(each)), f"{name}{CODES}")
        scales = self.ops.constant(each.scales.reshape(rows, groups, 1))
        halves = self.ops.convert(codes, "f16")
        values = self.ops.multiply(halves, self.named(scales, f"{name}{SCALES}"))
        whole = self.ops.reshape(values, self.numbers(rows, columns), special_zero=False)
        return self.ops.convert(whole, "f32")

    def named(self, node: "Node", name: str) -> "Node":
        """A node that is found again in the file by its name."""
        node.set_friendly_name(name)
        return node

    # Products.

    def linear(self, hidden: "Node", weight: str, bias: str | None = None) -> "Node":
        """(B, T, D) times a weight (out, in)."""
        weights = self.weight(weight)
        product = self.ops.matmul(hidden, weights, transpose_a=False, transpose_b=True)
        return self.plus(product, bias)

    def transposed_linear(self, hidden: "Node", weight: str, bias: str | None = None) -> "Node":
        """(B, T, D) times a weight that the model keeps as (in, out); its codes are (out, in)."""
        is_turned = weight in self.codes
        product = self.ops.matmul(
            hidden, self.weight(weight), transpose_a=False, transpose_b=is_turned
        )
        return self.plus(product, bias)

    def plus(self, product: "Node", bias: str | None) -> "Node":
        """A product and its bias, where the model has one."""
        if bias is None or bias not in self.weights:
            return product
        return self.ops.add(product, self.weight(bias))

    def embedding(self, ids: str, weight: str) -> "Node":
        """(B, T) ids to (B, T, D) rows of a table."""
        return self.ops.gather(self.weight(weight), self.inputs[ids], self.number(0))

    # Between the products.

    def add(self, left: "Node", right: "Node") -> "Node":
        """Two tensors, added."""
        return self.ops.add(left, right)

    def multiply(self, left: "Node", right: "Node") -> "Node":
        """Two tensors, number by number."""
        return self.ops.multiply(left, right)

    def rms_norm(self, hidden: "Node", weight: str, epsilon: float) -> "Node":
        """RMSNorm over the width (Zhang and Sennrich, 2019, arXiv 1910.07467, equation 4), in the
        steps that plugins put together as one."""
        squares = self.ops.power(hidden, self.float_number(2))
        mean = self.ops.reduce_mean(squares, self.numbers(-1), keep_dims=True)
        root = self.ops.sqrt(self.ops.add(mean, self.float_number(epsilon)))
        normed = self.ops.multiply(hidden, self.ops.divide(self.float_number(1), root))
        return self.ops.multiply(normed, self.weight(weight))

    def layer_norm(self, hidden: "Node", name: str, epsilon: float) -> "Node":
        """Layer normalization over the width, with a bias."""
        normed = self.ops.mvn(hidden, self.numbers(-1), True, epsilon, "inside_sqrt")
        scaled = self.ops.multiply(normed, self.weight(f"{name}.weight"))
        return self.ops.add(scaled, self.weight(f"{name}.bias"))

    def activation(self, hidden: "Node", name: str) -> "Node":
        """The activation that a config names (`families.ACTIVATIONS`)."""
        if name in ("silu", "swish"):
            return self.ops.swish(hidden)
        return self.ops.gelu(hidden, "erf" if name == "gelu" else "tanh")


def integers(weight: GroupCodes) -> "openvino.Tensor":
    """(O, G, inputs of a group) codes of 8 or 4 bits as a tensor of i8, or of i4, packed."""
    import openvino

    rows, groups = weight.scales.shape
    shape = openvino.Shape([rows, groups, weight.group])
    codes = np.ascontiguousarray(weight.codes)
    low, high = RANGES[weight.bits]
    # Four bits would keep the low half of a larger code, and say nothing.
    assert not codes.size or (codes.min() >= low and codes.max() <= high)
    if weight.bits == 8:
        return openvino.Tensor(codes.reshape(rows, groups, -1))
    # Its own memory: one that is made around an array's does not keep that array.
    tensor = openvino.Tensor(openvino.Type.i4, shape)
    tensor.data.reshape(-1)[:] = packed(codes).view(np.int8)
    return tensor


def packed(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Two codes of four bits in a byte, the first in its lower half."""
    halves = codes.reshape(-1).view(np.uint8) & np.uint8(15)
    return halves[0::2] | np.left_shift(halves[1::2], np.uint8(4))


def unpacked(content: NDArray[Any], bits: int) -> NDArray[np.int8]:
    """(N) codes: what `packed` was given, or bytes of eight bits as they are."""
    whole = content.reshape(-1).view(np.int8)
    if bits == 8:
        return whole
    # Shifted up and down again, the sign of the upper bit of four fills the byte.
    low = np.right_shift(np.left_shift(whole, 4), 4)
    return np.stack([low, np.right_shift(whole, 4)], -1).reshape(-1)
