"""The converted model: modules that hold codes and the learned scales, and nothing else.

They compute with ops of torch's dispatcher (`limbeck::dequantize` and the like), so that
torch.export keeps each op as one node, and an exporter writes Q, DQ and integer initializers from
the very scales that were trained. Here the ops do the arithmetic of training.

Shapes: B rows, T tokens, D in, O out, C channels, V rows of a table, G groups that share a scale.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.core.grids import GRIDS
from limbeck.quantization import affine, grids_torch
from limbeck.quantization.modules.fake import FakeQuantizer, by_token, dynamic
from limbeck.quantization.modules.recurrent import QuantizedMatrix
from limbeck.quantization.modules.swap import (
    Quantized,
    QuantizedConv1d,
    QuantizedConv2d,
    QuantizedConvolution,
    QuantizedEmbedding,
    QuantizedLinear,
)

# Bytes of a packed weight; the nodes of a graph that unpack fewer weigh as much as they save.
SMALLEST_PACKED = 1024

# Each op is followed by its "fake", which torch.export asks for the shape and type of the result.


@torch.library.custom_op("limbeck::quantize_dequantize", mutates_args=())
def quantize_dequantize(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
) -> Tensor:
    """x^ on the uint8 grid; `scale` float32 and `zero_point` uint8 are scalars."""
    zero = zero_point.float()
    codes = affine.quantize(x, scale, zero, GRIDS["uint8"])
    return affine.dequantize(codes, scale, zero)


@quantize_dequantize.register_fake
def _(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("limbeck::dequantize", mutates_args=())
def dequantize(
    codes: Tensor,
    scale: Tensor,
    axis: int,
) -> Tensor:
    """codes * scale along `axis`, float32; `codes` int8 or int32."""
    # Axes of length 1 beside the one that the scales lie along.
    shape = [1] * codes.ndim
    shape[axis] = -1
    return codes.float() * scale.view(shape)


@dequantize.register_fake
def _(
    codes: Tensor,
    scale: Tensor,
    axis: int,
) -> Tensor:
    return torch.empty_like(codes, dtype=torch.float32)


@torch.library.custom_op("limbeck::unpack", mutates_args=())
def unpack(
    packed: Tensor,
    shape: list[int],
    low: int,
    step: int,
    planes: list[int],
) -> Tensor:
    """int8 codes of `shape` from the bytes that `grids_torch.pack` wrote."""
    return grids_torch.unpack(packed, shape, low, step, planes)


@unpack.register_fake
def _(
    packed: Tensor,
    shape: list[int],
    low: int,
    step: int,
    planes: list[int],
) -> Tensor:
    return packed.new_empty(shape, dtype=torch.int8)


@torch.library.custom_op("limbeck::decode", mutates_args=())
def decode(stored: Tensor, dtype: str) -> Tensor:
    """The float32 numbers whose bytes in the float8 `dtype` are `stored`."""
    floats = stored.view(getattr(torch, dtype))
    return floats.float()


@decode.register_fake
def _(stored: Tensor, dtype: str) -> Tensor:
    return torch.empty_like(stored, dtype=torch.float32)


@torch.library.custom_op("limbeck::dynamic_linear", mutates_args=())
def dynamic_linear(
    x: Tensor,
    codes: Tensor,
    scale: Tensor,
) -> Tensor:
    """x^ W with x quantized by its own range; `codes` (D, O) int8, `scale` (O)."""
    weight = codes.float() * scale
    return dynamic(x, GRIDS["uint8"]) @ weight


@dynamic_linear.register_fake
def _(
    x: Tensor,
    codes: Tensor,
    scale: Tensor,
) -> Tensor:
    shape = (*x.shape[:-1], codes.shape[1])
    return x.new_empty(shape)


# Of a recurrent layer the length of x stays free in a graph. torch's own ops would be taken apart
# there, into a step for each position of the example.


@torch.library.custom_op("limbeck::lstm", mutates_args=())
def lstm(
    x: Tensor,
    state: list[Tensor],
    weights: list[Tensor],
    form: list[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """(output, last hidden state, last cell) of torch's LSTM.

    `form`: whether it has a bias, its layers, whether it runs both ways, whether rows come first.
    """
    return torch.lstm(x, state, weights, *settings_of(form))


@torch.library.custom_op("limbeck::gru", mutates_args=())
def gru(
    x: Tensor,
    state: list[Tensor],
    weights: list[Tensor],
    form: list[int],
) -> tuple[Tensor, Tensor]:
    """(output, last hidden state) of torch's GRU; `form` as `lstm`'s."""
    return torch.gru(x, state[0], weights, *settings_of(form))


def settings_of(form: list[int]) -> tuple[Any, ...]:
    """What torch's LSTM and GRU take after the weights, in inference."""
    # An op of the dispatcher takes lists of one type: booleans come as integers.
    has_bias, num_layers, is_bidirectional, batch_first = form
    dropout = 0.0
    is_training = False
    return (
        bool(has_bias),
        num_layers,
        dropout,
        is_training,
        bool(is_bidirectional),
        bool(batch_first),
    )


@lstm.register_fake
@gru.register_fake
def _(
    x: Tensor,
    state: list[Tensor],
    weights: list[Tensor],
    form: list[int],
) -> tuple[Tensor, ...]:
    _, _, is_bidirectional, _ = form
    # Both directions are laid side by side.
    width = state[0].shape[-1] * (1 + is_bidirectional)
    output = x.new_empty(*x.shape[:2], width)
    return output, *map(torch.empty_like, state)


class ActivationQuantizer(nn.Module):
    """The static quantizer of one tensor: uint8 codes by a scale and a zero point."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, quantizer: FakeQuantizer) -> None:
        super().__init__()
        # Scalars, as QuantizeLinear wants them for a whole tensor.
        scale = quantizer.scale.reshape(())
        zero_point = quantizer.zero_point.reshape(())
        self.register_buffer("scale", scale.clone())
        self.register_buffer("zero_point", zero_point.to(torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        return quantize_dequantize(x, self.scale, self.zero_point)


def is_expanded(source: Quantized) -> bool:
    """Whether no kernel reads the codes of a weight, so that the graph computes with floats.

    So it is where a part of a channel has a scale of its own, or levels are no integers.
    """
    has_parts = source.quantizer.groups != len(source.float_weight())
    return has_parts or source.quantizer.grid.is_floating


class Integer(nn.Module):
    """A weight as codes with float32 scales (G), and the quantizer of what is read.

    Codes of fewer than 8 bits are packed where that saves anything.
    """

    stored: Tensor
    scale: Tensor

    def __init__(self, source: Quantized, codes: Tensor) -> None:
        super().__init__()
        self.grid = source.quantizer.grid
        self.shape = list(codes.shape)
        # Eight bits are a byte already, and a grid of them has no planes.
        packed_bytes = codes.numel() * self.grid.bits / 8
        self.is_packed = bool(self.grid.planes) and packed_bytes > SMALLEST_PACKED
        store = grids_torch.pack if self.is_packed else grids_torch.as_bytes
        self.register_buffer("stored", store(codes, self.grid))
        self.register_buffer("scale", source.scale().clone())
        self.is_expanded = is_expanded(source)
        self.basis: nn.Module = source.basis or nn.Identity()
        self.input: nn.Module = nn.Identity()
        # What was quantized where it was made is not quantized again.
        if source.input is not None and not source.reads_codes:
            self.input = ActivationQuantizer(source.input)

    def share(self, other: "Integer") -> None:
        """Hold the very codes and scales of a module whose weight was tied to this one's."""
        # The same tensors, not equal ones: a file and a graph then hold them once.
        self.stored = other.stored
        self.scale = other.scale

    @property
    def codes(self) -> Tensor:
        """The integers, int8, or the bytes of float8 numbers, uint8."""
        if not self.is_packed:
            return self.stored
        grid = self.grid
        planes = list(grid.planes)
        return unpack(self.stored, self.shape, grid.low, grid.step, planes)

    def levels(self, codes: Tensor) -> Tensor:
        """What codes stand for before they are scaled, float32."""
        return decode(codes, self.grid.storage) if self.grid.is_floating else codes.float()

    def expanded(self) -> Tensor:
        """The weight dequantized, in the shape of the codes, by ops that a runtime folds."""
        # Neighbours share a scale.
        by_group = self.levels(self.codes).view(len(self.scale), -1)
        weight = by_group * self.scale.unsqueeze(1)
        return weight.view(self.shape)


class IntegerLinear(Integer):
    """y = x^ W^T + b.

    Codes stand transposed, (D, O), as a matrix product reads them. Where they are expanded, or
    tied to a table, they stand as they are, (O, D), and a runtime turns them when it loads the
    graph.
    """

    bias: Tensor | None

    def __init__(self, source: QuantizedLinear) -> None:
        codes = source.codes()
        self.by_row = is_expanded(source) or source.is_tied
        super().__init__(source, codes if self.by_row else codes.t())
        # The norm behind the product goes into the codes and into the bias.
        shift = source.shift()
        bias = None if shift is None else shift.detach().clone()
        self.register_buffer("bias", bias)
        self.is_dynamic = source.is_dynamic
        self.token_group = source.token_group

    @property
    def weight(self) -> Tensor:
        """(O, D), dequantized, for a model that looks at it."""
        if self.is_expanded:
            return self.expanded()
        return dequantize(self.turned, self.scale, 1).t()

    @property
    def turned(self) -> Tensor:
        """(D, O) the codes."""
        return self.codes.t().contiguous() if self.by_row else self.codes

    def forward(self, x: Tensor) -> Tensor:
        x = self.basis(x)
        if self.token_group:
            x = by_token(x, self.token_group, is_half=False)
        is_matrix = x.ndim == 2
        # ONNX Runtime turns a plain matrix product with a bias into a Gemm of floats: a product of
        # three axes stays one of integers.
        rows = x.unsqueeze(-2) if is_matrix else x
        if self.is_dynamic:
            y = dynamic_linear(rows, self.turned, self.scale)
        elif self.is_expanded:
            y = torch.matmul(rows, self.expanded().t())
        else:
            rows = self.input(rows)
            weight = dequantize(self.turned, self.scale, 1)
            y = torch.matmul(rows, weight)
        if self.bias is not None:
            y = y + self.bias
        return y.squeeze(-2) if is_matrix else y


class IntegerEmbedding(Integer):
    """Rows of a table (V, D). Codes are gathered first, then the gathered rows dequantized."""

    def __init__(self, source: QuantizedEmbedding) -> None:
        codes = source.codes()
        super().__init__(source, codes)

    @property
    def weight(self) -> Tensor:
        """(V, D), dequantized, for a model that looks at it."""
        return self.expanded()

    def forward(self, ids: Tensor) -> Tensor:
        # Dequantizing the whole table first would cost as much memory as a float one.
        rows = self.levels(functional.embedding(ids, self.codes))
        num_rows = self.shape[0]
        # One scale a row needs no cutting into groups, and gives the smaller graph.
        if len(self.scale) == num_rows:
            return rows * self.scale[ids].unsqueeze(-1)
        # (..., groups of a row, values of a group) times (..., groups of a row, 1).
        table_of_scales = self.scale.view(num_rows, -1)
        scale = functional.embedding(ids, table_of_scales)
        by_group = rows.unflatten(-1, (scale.shape[-1], -1))
        scaled = by_group * scale.unsqueeze(-1)
        return scaled.flatten(-2)


class IntegerConvolution(Integer):
    """y = conv(x^, W^) + b.

    With a static input the bias is int32 on the accumulator's grid, as runtimes fuse it; else it
    is float.
    """

    bias: Tensor
    bias_scale: Tensor

    def __init__(self, source: QuantizedConvolution) -> None:
        # As a forward pass of it would.
        source.make_room()
        codes = source.codes()
        super().__init__(source, codes)
        self.convolve = source.convolve
        self.geometry: dict[str, Any] = source.geometry
        self.kernel_size = source.kernel_size
        self.stride = source.stride
        self.dilation = source.dilation
        self.has_codes = source.input is not None
        bias = source.folded_bias().detach()
        if self.has_codes:
            # The accumulator counts in steps of (input scale x weight scale).
            step = source.bias_scale()
            self.register_buffer("bias_scale", step.clone())
            bias = torch.round(bias / step).to(torch.int32)
        self.register_buffer("bias", bias.clone())

    @property
    def weight(self) -> Tensor:
        """(O, C / groups, ...), dequantized."""
        if self.is_expanded:
            return self.expanded()
        return dequantize(self.codes, self.scale, 0)

    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias
        if self.has_codes:
            bias = dequantize(self.bias, self.bias_scale, 0)
        return self.convolve(self.input(x), self.weight, bias, **self.geometry)


class IntegerMatrix(Integer):
    """A matrix (O, D) of a recurrent layer, dequantized by ops that a runtime folds."""

    def __init__(self, source: QuantizedMatrix) -> None:
        codes = source.codes()
        super().__init__(source, codes)

    def forward(self) -> Tensor:
        return self.expanded()


# What each trained module becomes.
CONVERTED: dict[type[Quantized], Callable[[Any], Integer]] = {
    QuantizedLinear: IntegerLinear,
    QuantizedEmbedding: IntegerEmbedding,
    QuantizedConv1d: IntegerConvolution,
    QuantizedConv2d: IntegerConvolution,
    QuantizedMatrix: IntegerMatrix,
}
