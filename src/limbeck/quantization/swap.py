"""Modules that quantize their weights, and the input they read, while they train. They take the place of a module and share its parameters.

Shapes: B rows, T tokens, D in, O out, C channels. `input` is the quantizer of the tensor that the module reads, shared by all its readers, or
None where
activations stay float; `reads_codes` says that the tensor was already quantized where it was made. `is_tied`: another module holds the same weight
and the same quantizer of it. `basis` is a change of basis of what is read,
whose inverse the weights hold (`equalizers`), shared alike.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from limbeck.core.grids import GRIDS
from limbeck.quantization.affine import SMALLEST
from limbeck.quantization.fake import (
    FakeQuantizer,
    StraightThrough,
    dynamic,
    zero_on_device_of,
)
from limbeck.quantization.roundings import LayerRounding, ScaledRounding

Norm = nn.BatchNorm1d | nn.BatchNorm2d


class Quantized(nn.Module):
    """What all have in common: a float weight, its quantizer, and the pair of both for the error term."""

    weight: torch.Tensor

    def __init__(self, quantizer: FakeQuantizer) -> None:
        super().__init__()
        self.quantizer = quantizer
        self.input: FakeQuantizer | None = None
        self.reads_codes = False
        self.is_dynamic = False
        self.is_tied = False
        self.basis: nn.Sequential | None = None
        self.pair: tuple[torch.Tensor, torch.Tensor] | None = None

    def remember(self, rounded: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """`rounded`, kept with the float weight for `squared_error` while training."""
        self.pair = (
            (rounded.detach(), weight) if self.training and self.quantizer.is_calibrated else None
        )
        return rounded

    def read(self, x: torch.Tensor) -> torch.Tensor:
        """The input as the integer kernel will see it."""
        x = x if self.basis is None else self.basis(x)
        if self.is_dynamic and self.quantizer.is_calibrated:
            return dynamic(x.float(), GRIDS["uint8"])
        return x if self.input is None or self.reads_codes else self.input(x)

    def calibrate_weight(self) -> None:
        """Fit the weight's range to the weight as it stands."""
        self.quantizer.begin()
        self.quantizer(self.float_weight())
        self.quantizer.finish()
        rounding = self.quantizer.rounding
        if isinstance(rounding, ScaledRounding):
            scale = rounding.scale(
                self.float_weight().detach().float().reshape(self.quantizer.groups, -1)
            )
            self.quantizer.log_scale.data.copy_(scale.log())

    def float_weight(self) -> torch.Tensor:
        """What the integers stand for, (O, ...)."""
        return self.weight

    def positions(self, x: torch.Tensor) -> torch.Tensor:
        """(N, D) each vector that meets the weights of an output channel, of an input as read."""
        return x.flatten(0, -2)

    def put(self, weight: torch.Tensor) -> None:
        """Take `weight` as the float weight."""
        self.weight.data.copy_(weight)

    def round_with(self, rounding: LayerRounding, inputs: torch.Tensor) -> None:
        """Put the weight onto the grid, where the nearest level then finds it again. `inputs` (N, D) as `positions` gives them."""
        weight = self.float_weight().detach()
        width = weight[0].numel()
        parts = inputs.shape[1] // width  # of a grouped convolution: as many separate layers
        each = len(weight) // parts
        rows, scale = weight.reshape(parts, each, width), self.quantizer.scale.view(parts, each, -1)
        self.put(
            rounding.solve(
                rows,
                scale,
                self.quantizer.grid,
                inputs.unflatten(1, (parts, width)).transpose(0, 1),
            ).view_as(weight)
        )


class Normed(Quantized):
    """A product with the batch norm behind it folded in: W^ = Q(W gamma / sigma), per output channel.

    While training, the norm still sees batch statistics: y = norm((W^ x^) sigma / gamma) (Jacob et al., 2018, arXiv 1712.05877, section 3.2; the
    approximation with running sigma).
    """

    def __init__(
        self,
        product: nn.Linear | nn.Conv1d | nn.Conv2d,
        quantizer: FakeQuantizer,
        norm: Norm | None = None,
    ) -> None:
        super().__init__(quantizer)
        self.weight, self.bias, self.norm = product.weight, product.bias, norm

    def factor(self) -> torch.Tensor:
        """(O) gamma / sigma of the norm, or ones."""
        if self.norm is None or self.norm.running_var is None:
            return self.weight.new_ones(len(self.weight))
        factor = self.norm.weight * torch.rsqrt(self.norm.running_var + self.norm.eps)
        return torch.where(factor.abs() < SMALLEST, SMALLEST, factor)

    def factors(self) -> torch.Tensor:
        """(O, 1, ...) the same, beside the weight."""
        return self.factor().view(-1, *[1] * (self.weight.ndim - 1))

    def float_weight(self) -> torch.Tensor:
        return self.weight if self.norm is None else self.weight * self.factors()

    def put(self, weight: torch.Tensor) -> None:
        self.weight.data.copy_(weight / self.factors().detach())

    def shift(self) -> torch.Tensor | None:
        """(O) the bias, with the norm's shift."""
        if self.norm is None or self.norm.running_mean is None:
            return self.bias
        bias = self.weight.new_zeros(len(self.weight)) if self.bias is None else self.bias
        return (bias - self.norm.running_mean) * self.factor() + self.norm.bias

    def renormed(self, raw: torch.Tensor) -> torch.Tensor:
        """(B, O, ...) what the norm makes of the product with W^, in training."""
        assert self.norm is not None
        column = (1, -1, *[1] * (raw.ndim - 2))
        raw = raw / self.factor().view(column)
        return self.norm(raw if self.bias is None else raw + self.bias.view(column))


class QuantizedLinear(Normed):
    """y = x^ W^T + b with W (O, D) per output channel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.float_weight()
        rounded = self.remember(self.quantizer(weight), weight)
        if self.training and self.norm is not None:
            return self.renormed(functional.linear(self.read(x), rounded))
        return functional.linear(self.read(x), rounded, self.shift())


class QuantizedEmbedding(Quantized):
    """Rows of a table (V, D), each with its own scale, or one for each of its groups; only the gathered rows are quantized at a step."""

    def __init__(self, embedding: nn.Embedding, quantizer: FakeQuantizer) -> None:
        super().__init__(quantizer)
        self.weight, self.padding_idx = embedding.weight, embedding.padding_idx

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        rows = functional.embedding(ids, self.weight, self.padding_idx)
        if not self.quantizer.is_calibrated:
            return rows
        log_scale = functional.embedding(
            ids, self.quantizer.log_scale.view(len(self.weight), -1)
        ).unsqueeze(-1)
        rounded = StraightThrough.apply(
            rows.unflatten(-1, (log_scale.shape[-2], -1)),
            log_scale,
            self.quantizer.zero[:1],
            self.quantizer.grid,
            self.quantizer.to_levels,
        )
        return self.remember(rounded.flatten(-2), rows)


class QuantizedConvolution(Normed):
    """y = conv(x^, W^) + b. In eval mode the bias is rounded to int32 steps of (input scale x weight scale), as the kernel holds it."""

    convolve: Callable[..., torch.Tensor]

    def __init__(
        self, convolution: nn.Conv1d | nn.Conv2d, quantizer: FakeQuantizer, norm: Norm | None = None
    ) -> None:
        super().__init__(convolution, quantizer, norm)
        self.geometry: dict[str, Any] = {
            "stride": convolution.stride,
            "padding": convolution.padding,
            "dilation": convolution.dilation,
            "groups": convolution.groups,
        }

    def positions(self, x: torch.Tensor) -> torch.Tensor:
        window = {key: self.geometry[key] for key in ("stride", "padding", "dilation")}
        if self.weight.ndim == 3:  # a row of pixels
            x, window = (
                x.unsqueeze(2),
                {key: (int(key != "padding"), *value) for key, value in window.items()},
            )
        return (
            functional.unfold(x, (1, *self.weight.shape[2:])[-2:], **window)
            .transpose(1, 2)
            .flatten(0, 1)
        )

    def folded_bias(self) -> torch.Tensor:
        """(O) the bias with the norm's shift, on the grid of the int32 accumulator where input and weight are quantized."""
        shift = self.shift()
        bias = self.weight.new_zeros(len(self.weight)) if shift is None else shift
        if self.input is None or not self.input.is_calibrated:
            return bias
        step = self.bias_scale()
        return torch.round(bias / step) * step

    def bias_scale(self) -> torch.Tensor:
        """(O) the value of one step of the accumulator."""
        assert self.input is not None
        return self.input.scale * self.quantizer.scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.float_weight()
        rounded = self.remember(self.quantizer(weight), weight)
        if self.training and self.norm is not None:
            return self.renormed(self.convolve(self.read(x), rounded, None, **self.geometry))
        return self.convolve(
            self.read(x),
            rounded,
            self.bias if self.training else self.folded_bias(),
            **self.geometry,
        )


class QuantizedConv1d(QuantizedConvolution):
    """Over (B, C, T)."""

    convolve = staticmethod(functional.conv1d)


class QuantizedConv2d(QuantizedConvolution):
    """Over (B, C, H, W)."""

    convolve = staticmethod(functional.conv2d)


class Then(nn.Module):
    """A module, and the quantizer of its output."""

    def __init__(self, module: nn.Module, quantizer: FakeQuantizer) -> None:
        super().__init__()
        self.module, self.quantizer = module, quantizer

    @property
    def weight(self) -> Any:
        """The module's, for a model that looks at it."""
        return self.module.weight

    def forward(self, *inputs: Any) -> torch.Tensor:
        return self.quantizer(self.module(*inputs))


def activation_quantizers(model: nn.Module) -> list[FakeQuantizer]:
    """Every activation quantizer once."""
    weights = {id(module.quantizer) for module in model.modules() if isinstance(module, Quantized)}
    return [
        module
        for module in model.modules()
        if isinstance(module, FakeQuantizer) and id(module) not in weights
    ]


def find(model: nn.Module, name: str) -> nn.Module:
    """What stands where the module `name` stood before places of outputs were wrapped in `Then`, without its own wrapping."""
    module = model
    for part in name.split("."):
        module = module.get_submodule(part)
        module = module.module if isinstance(module, Then) else module
    return module


def squared_error(model: nn.Module) -> torch.Tensor:
    """mean (Q(w) - w)^2 over every weight that the last forward quantized; the gradient pulls w to its grid point, which stands still."""
    pairs = [
        module.pair
        for module in model.modules()
        if isinstance(module, Quantized) and module.pair is not None
    ]
    if not pairs:
        return zero_on_device_of(model)
    total = torch.stack(
        [functional.mse_loss(weight, rounded, reduction="sum") for rounded, weight in pairs]
    ).sum()
    return total / sum(weight.numel() for _, weight in pairs)
