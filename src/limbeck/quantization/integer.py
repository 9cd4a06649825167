"""The converted model: modules that hold codes and the learned scales, nothing else, and compute with the ops that exporters translate.

`limbeck::quantize_dequantize`, `limbeck::dequantize`, `limbeck::unpack`, `limbeck::decode` and `limbeck::dynamic_linear` are ops of torch's
dispatcher, so that torch.export keeps each as one node and an exporter writes Q, DQ and integer initializers from the very scales that were trained;
here they are the same arithmetic as in training.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from limbeck.core.grids import GRIDS
from limbeck.quantization import affine, grids_torch
from limbeck.quantization.fake import FakeQuantizer, dynamic
from limbeck.quantization.recurrent import QuantizedMatrix
from limbeck.quantization.swap import (
    Quantized,
    QuantizedConv1d,
    QuantizedConv2d,
    QuantizedConvolution,
    QuantizedEmbedding,
    QuantizedLinear,
)

SMALLEST_PACKED = 1024  # bytes; the nodes that unpack fewer weigh as much


@torch.library.custom_op("limbeck::quantize_dequantize", mutates_args=())
def quantize_dequantize(
    x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor
) -> torch.Tensor:
    """x^ on the uint8 grid; `scale` float32 and `zero_point` uint8 are scalars."""
    zero = zero_point.float()
    return affine.dequantize(affine.quantize(x, scale, zero, GRIDS["uint8"]), scale, zero)


@torch.library.custom_op("limbeck::dequantize", mutates_args=())
def dequantize(codes: torch.Tensor, scale: torch.Tensor, axis: int) -> torch.Tensor:
    """codes * scale along `axis`; `codes` int8 or int32."""
    shape = [1] * codes.ndim
    shape[axis] = -1
    return codes.float() * scale.view(shape)


@torch.library.custom_op("limbeck::unpack", mutates_args=())
def unpack(
    packed: torch.Tensor, shape: list[int], low: int, step: int, planes: list[int]
) -> torch.Tensor:
    """int8 codes of `shape` from the bytes that `grids_torch.pack` wrote."""
    return grids_torch.unpack(packed, shape, low, step, planes)


@torch.library.custom_op("limbeck::decode", mutates_args=())
def decode(stored: torch.Tensor, dtype: str) -> torch.Tensor:
    """The float32 numbers whose bytes in the float8 `dtype` are `stored`."""
    return stored.view(getattr(torch, dtype)).float()


@torch.library.custom_op("limbeck::dynamic_linear", mutates_args=())
def dynamic_linear(x: torch.Tensor, codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """x^ W with x quantized by its own range; `codes` (D, O) int8, `scale` (O)."""
    return dynamic(x, GRIDS["uint8"]) @ (codes.float() * scale)


@torch.library.custom_op("limbeck::lstm", mutates_args=())
def lstm(
    x: torch.Tensor, state: list[torch.Tensor], weights: list[torch.Tensor], form: list[int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(output, last hidden state, last cell) of torch's LSTM; `form`: whether it has a bias, its layers, whether it runs both ways, whether rows come
    first. The length of x stays free in a graph, where torch's own op takes a step for each of its positions."""
    bias, layers, both_ways, rows_first = form
    return torch.lstm(
        x, state, weights, bool(bias), layers, 0.0, False, bool(both_ways), bool(rows_first)
    )


@torch.library.custom_op("limbeck::gru", mutates_args=())
def gru(
    x: torch.Tensor, state: list[torch.Tensor], weights: list[torch.Tensor], form: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(output, last hidden state) of torch's GRU; as `lstm`."""
    bias, layers, both_ways, rows_first = form
    return torch.gru(
        x, state[0], weights, bool(bias), layers, 0.0, False, bool(both_ways), bool(rows_first)
    )


@lstm.register_fake
@gru.register_fake
def _(
    x: torch.Tensor, state: list[torch.Tensor], weights: list[torch.Tensor], form: list[int]
) -> tuple[torch.Tensor, ...]:
    return x.new_empty(*x.shape[:2], state[0].shape[-1] * (1 + form[2])), *map(
        torch.empty_like, state
    )


@quantize_dequantize.register_fake
def _(x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


@dequantize.register_fake
def _(codes: torch.Tensor, scale: torch.Tensor, axis: int) -> torch.Tensor:
    return torch.empty_like(codes, dtype=torch.float32)


@unpack.register_fake
def _(
    packed: torch.Tensor, shape: list[int], low: int, step: int, planes: list[int]
) -> torch.Tensor:
    return packed.new_empty(shape, dtype=torch.int8)


@decode.register_fake
def _(stored: torch.Tensor, dtype: str) -> torch.Tensor:
    return torch.empty_like(stored, dtype=torch.float32)


@dynamic_linear.register_fake
def _(x: torch.Tensor, codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return x.new_empty((*x.shape[:-1], codes.shape[1]))


class ActivationQuantizer(nn.Module):
    """The static quantizer of one tensor."""

    scale: torch.Tensor
    zero_point: torch.Tensor

    def __init__(self, quantizer: FakeQuantizer) -> None:
        super().__init__()
        self.register_buffer("scale", quantizer.scale.reshape(()).clone())
        self.register_buffer("zero_point", quantizer.zero_point.reshape(()).to(torch.uint8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return quantize_dequantize(x, self.scale, self.zero_point)


def is_expanded(source: Quantized) -> bool:
    """Whether no kernel reads the codes, so that the graph computes with floats: a scale for each group of them, or levels that are no integers."""
    return (
        source.quantizer.groups != len(source.float_weight()) or source.quantizer.grid.is_floating
    )


class Integer(nn.Module):
    """A weight as codes with float32 scales, and the quantizer of what is read. Codes of fewer than 8 bits are packed where that saves anything."""

    stored: torch.Tensor
    scale: torch.Tensor

    def __init__(self, source: Quantized, codes: torch.Tensor) -> None:
        super().__init__()
        self.grid, self.shape = source.quantizer.grid, list(codes.shape)
        self.is_packed = codes.numel() * self.grid.bits / 8 > SMALLEST_PACKED and bool(
            self.grid.planes
        )
        self.register_buffer(
            "stored",
            grids_torch.pack(codes, self.grid)
            if self.is_packed
            else grids_torch.as_bytes(codes, self.grid),
        )
        self.register_buffer("scale", source.quantizer.scale.clone())
        self.is_expanded = is_expanded(source)
        own = source.input is not None and not source.reads_codes
        self.basis: nn.Module = source.basis or nn.Identity()
        self.input: nn.Module = (
            ActivationQuantizer(source.input) if own and source.input is not None else nn.Identity()
        )

    def share(self, other: "Integer") -> None:
        """Hold the very codes and scales of a module whose weight was tied to this one's."""
        self.stored, self.scale = other.stored, other.scale

    @property
    def codes(self) -> torch.Tensor:
        """The integers, int8, or the bytes of floats, uint8."""
        grid = self.grid
        return (
            unpack(self.stored, self.shape, grid.low, grid.step, list(grid.planes))
            if self.is_packed
            else self.stored
        )

    def levels(self, codes: torch.Tensor) -> torch.Tensor:
        """What codes stand for before they are scaled, float32."""
        return decode(codes, self.grid.storage) if self.grid.is_floating else codes.float()

    def expanded(self) -> torch.Tensor:
        """The weight dequantized in the shape of the codes, by ops that a runtime folds. Neighbours share a scale."""
        return (self.levels(self.codes).view(len(self.scale), -1) * self.scale.unsqueeze(1)).view(
            self.shape
        )


class IntegerLinear(Integer):
    """Codes stand transposed, (D, O), as a matrix product reads them; expanded or tied to a table as they are, (O, D), and a runtime turns them when
    it loads the graph. `weight` is for a model that looks at it."""

    bias: torch.Tensor | None

    def __init__(self, source: QuantizedLinear) -> None:
        codes = source.quantizer.codes(source.float_weight())
        self.by_row = is_expanded(source) or source.is_tied
        super().__init__(source, codes if self.by_row else codes.t())
        shift = source.shift()
        self.register_buffer("bias", None if shift is None else shift.detach().clone())
        self.is_dynamic = source.is_dynamic

    @property
    def weight(self) -> torch.Tensor:
        """(O, D), dequantized."""
        return self.expanded() if self.is_expanded else dequantize(self.turned, self.scale, 1).t()

    @property
    def turned(self) -> torch.Tensor:
        """(D, O) the codes."""
        return self.codes.t().contiguous() if self.by_row else self.codes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.basis(x)
        rows = (
            x.unsqueeze(-2) if x.ndim == 2 else x
        )  # ONNX Runtime turns a plain matrix product with bias into a float Gemm
        if self.is_dynamic:
            y = dynamic_linear(rows, self.turned, self.scale)
        elif self.is_expanded:
            y = torch.matmul(rows, self.expanded().t())
        else:
            y = torch.matmul(self.input(rows), dequantize(self.turned, self.scale, 1))
        y = y if self.bias is None else y + self.bias
        return y.squeeze(-2) if x.ndim == 2 else y


class IntegerEmbedding(Integer):
    """Codes are gathered first, then the gathered rows dequantized."""

    def __init__(self, source: QuantizedEmbedding) -> None:
        super().__init__(source, source.quantizer.codes(source.float_weight()))

    @property
    def weight(self) -> torch.Tensor:
        """(V, D), dequantized."""
        return self.expanded()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        rows = self.levels(functional.embedding(ids, self.codes))
        if len(self.scale) == self.shape[0]:
            return rows * self.scale[ids].unsqueeze(-1)
        scale = functional.embedding(ids, self.scale.view(self.shape[0], -1))
        return (rows.unflatten(-1, (scale.shape[-1], -1)) * scale.unsqueeze(-1)).flatten(-2)


class IntegerConvolution(Integer):
    """With a static input the bias is int32 on the accumulator's grid, as runtimes fuse it; else float."""

    bias: torch.Tensor
    bias_scale: torch.Tensor

    def __init__(self, source: QuantizedConvolution) -> None:
        super().__init__(source, source.quantizer.codes(source.float_weight()))
        self.convolve = source.convolve
        self.geometry: dict[str, Any] = source.geometry
        self.has_codes = source.input is not None
        bias = source.folded_bias().detach()
        if self.has_codes:
            step = source.bias_scale()
            self.register_buffer("bias_scale", step.clone())
            bias = torch.round(bias / step).to(torch.int32)
        self.register_buffer("bias", bias.clone())

    @property
    def weight(self) -> torch.Tensor:
        """(O, C / groups, ...), dequantized."""
        return self.expanded() if self.is_expanded else dequantize(self.codes, self.scale, 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bias = dequantize(self.bias, self.bias_scale, 0) if self.has_codes else self.bias
        return self.convolve(self.input(x), self.weight, bias, **self.geometry)


class IntegerMatrix(Integer):
    """A matrix of a recurrent layer, dequantized by ops that a runtime folds."""

    def __init__(self, source: QuantizedMatrix) -> None:
        super().__init__(source, source.quantizer.codes(source.float_weight()))

    def forward(self) -> torch.Tensor:
        return self.expanded()


CONVERTED: dict[type[Quantized], Callable[[Any], Integer]] = {
    QuantizedLinear: IntegerLinear,
    QuantizedEmbedding: IntegerEmbedding,
    QuantizedConv1d: IntegerConvolution,
    QuantizedConv2d: IntegerConvolution,
    QuantizedMatrix: IntegerMatrix,
}
