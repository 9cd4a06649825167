"""Modules that quantize their weights, and what they read, while they train.

Each takes the place of a float module and shares its parameters:

    y = f(x^, W^)        x^ and W^ rounded to their grids (`fake`)

Shapes: B rows, T tokens, D in, O out, C channels, V rows of a table, N positions.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.core.grids import GRIDS
from limbeck.quantization.affine import SMALLEST
from limbeck.quantization.modules.fake import (
    FakeQuantizer,
    StraightThrough,
    by_token,
    dynamic,
    zero_on_device_of,
)
from limbeck.quantization.roundings import (
    LAST_BITS,
    LayerRounding,
    ScaledRounding,
    check_finite,
    check_levels,
    check_rounded,
)

Norm = nn.BatchNorm1d | nn.BatchNorm2d

# What the sum of an int32 accumulator may reach; a bit less than it holds, since biases are rounded
# in float32.
MOST_ACCUMULATED = 0.99 * 2**31


class Quantized(nn.Module):
    """What all have in common: a float weight, its quantizer, and how the input is read.

    Attributes:
        quantizer: the weight's.
        input: the quantizer of the tensor that the module reads, shared by all its readers; None
            where activations stay float.
        reads_codes: the tensor was already quantized where it was made (`QuantizedOutput`), so that
            it is not quantized again.
        is_dynamic: the range of the input is taken from each tensor anew.
        token_group: of how many neighbours in each token the input's range is taken; None where it
            is not taken so (`fake.by_token`).
        is_tied: another module holds the same weight and the same quantizer of it.
        basis: a change of basis of what is read, whose inverse the weights hold (`equalizers`);
            shared by all readers of the tensor.
        pair: the rounded and the float weight of the last training step, for `squared_error`.
    """

    weight: Tensor

    def __init__(self, quantizer: FakeQuantizer) -> None:
        super().__init__()
        self.quantizer = quantizer
        self.input: FakeQuantizer | None = None
        self.reads_codes = False
        self.is_dynamic = False
        self.token_group: int | None = None
        self.is_tied = False
        self.basis: nn.Sequential | None = None
        self.pair: tuple[Tensor, Tensor] | None = None

    def remember(self, rounded: Tensor, weight: Tensor) -> None:
        """Keep the rounded and the float weight for `squared_error`, while training."""
        self.pair = None
        if self.training and self.quantizer.is_calibrated:
            self.pair = (rounded.detach(), weight)

    def read(self, x: Tensor) -> Tensor:
        """The input as the integer kernel will see it."""
        # The change of basis comes first: it is there to make what is rounded easier to round.
        if self.basis is not None:
            x = self.basis(x)
        # Until the weight is calibrated all stays float, so that ranges are fitted to float values.
        if self.is_dynamic and self.quantizer.is_calibrated:
            return dynamic(x.float(), GRIDS["uint8"])
        if self.token_group and self.quantizer.is_calibrated:
            # Scales in float32, as ONNX Runtime has them; llama.cpp's are fp16 numbers.
            return by_token(x.float(), self.token_group, is_half=False)
        if self.input is None or self.reads_codes:
            return x
        return self.input(x)

    def calibrate_weight(self) -> None:
        """Fit the weight's range to the weight as it stands."""
        # A forward pass of the quantizer alone, since a model's own might not reach every row.
        self.quantizer.begin()
        self.quantizer(self.coded_weight())
        self.quantizer.finish()
        rounding = self.quantizer.rounding
        if isinstance(rounding, ScaledRounding):
            # Such a rounding knows the best scale for its levels; the range's is replaced.
            weight = self.coded_weight().detach()
            rows = weight.float().reshape(self.quantizer.groups, -1)
            scale = rounding.scale(rows)
            check_rounded(rounding, "scale", scale, rows[:, 0])
            check_finite(rounding, "scale", scale.log())
            self.quantizer.log_scale.data.copy_(scale.log())
        check_levels(rounding, "round", self.codes(), self.quantizer.grid)

    def coded_weight(self) -> Tensor:
        """What the quantizer rounds, (O, ...): its steps are those of this weight."""
        return self.weight

    def float_weight(self) -> Tensor:
        """What the integers stand for once all is folded, (O, ...)."""
        return self.weight

    def rounded_weight(self) -> Tensor:
        """The same as the integers have it, (O, ...), with its gradient."""
        return self.quantizer(self.coded_weight())

    def codes(self) -> Tensor:
        """The integers, (O, ...), as float32."""
        return self.quantizer.codes(self.coded_weight())

    def scale(self) -> Tensor:
        """(G) the step of the integers, in units of `float_weight`; without a gradient."""
        return self.quantizer.scale

    def positions(self, x: Tensor) -> Tensor:
        """(N, D) each vector that meets the weights of an output channel.

        `x` is an input as `read` gives it.
        """
        return x.flatten(0, -2)

    def put(self, weight: Tensor) -> None:
        """Take `weight`, of the shape of `float_weight()`, as the float weight."""
        self.weight.data.copy_(weight)

    def round_with(self, rounding: LayerRounding, inputs: Tensor) -> None:
        """Put the weight onto the grid, where the nearest level then finds it again.

        `inputs` (N, D) are as `positions` gives them.
        """
        weight = self.float_weight().detach()
        width = weight[0].numel()
        # A grouped convolution is as many separate layers, each of which reads its own channels.
        num_parts = inputs.shape[1] // width
        channels = len(weight) // num_parts
        rows = weight.reshape(num_parts, channels, width)
        scale = self.scale().view(num_parts, channels, -1)
        inputs_by_part = inputs.unflatten(1, (num_parts, width))
        # It may be somebody else's, and write into what it is given.
        rounded = rounding.solve(
            rows.clone(),
            scale.clone(),
            self.quantizer.grid,
            inputs_by_part.transpose(0, 1),
        )
        check_rounded(rounding, "solve", rounded, rows)
        steps = rounded.unflatten(-1, (scale.shape[-1], -1)) / scale.unsqueeze(-1)
        check_levels(rounding, "solve", steps, self.quantizer.grid, tolerance=LAST_BITS)
        self.put(rounded.view_as(weight))


class Normed(Quantized):
    """A product with the batch norm behind it, which is folded into the weight by channel:

        training     y = norm(Q(W) x^ + b)
        afterwards   y = (Q(W) f) x^ + (b - mu) f + beta        f = gamma / sigma

    The learned step s belongs to the weight W before the norm is folded in, and the integers' step
    is s |f|; the sign of f goes into what is rounded, since some grids are not symmetric. No
    gradient runs through the fold.

    Deviation: Jacob et al. (2018, arXiv 1712.05877, section 3.2) round W gamma / sigma while they
    train. There gamma / sigma drifts away under a learned step, which follows slowly: from a
    network that has yet to learn, digits reached .857 so and .974 as here.
    """

    def __init__(
        self,
        product: nn.Linear | nn.Conv1d | nn.Conv2d,
        quantizer: FakeQuantizer,
        norm: Norm | None = None,
    ) -> None:
        super().__init__(quantizer)
        # Shared with the float module, so that optimizers and checkpoints see one parameter.
        self.weight = product.weight
        self.bias = product.bias
        self.norm = norm

    def factor(self) -> Tensor:
        """(O) gamma / sigma of the norm, or ones."""
        if self.norm is None or self.norm.running_var is None:
            return self.weight.new_ones(len(self.weight))
        variance = self.norm.running_var + self.norm.eps
        factor = self.norm.weight * torch.rsqrt(variance)
        # The product is divided by it again, which a gamma of 0 must survive.
        is_tiny = factor.abs() < SMALLEST
        return torch.where(is_tiny, SMALLEST, factor)

    def factors(self) -> Tensor:
        """(O, 1, ...) the same, beside the weight."""
        ones = [1] * (self.weight.ndim - 1)
        return self.factor().view(-1, *ones)

    def coded_weight(self) -> Tensor:
        return self.weight if self.norm is None else self.weight * self.signs()

    def float_weight(self) -> Tensor:
        return self.weight if self.norm is None else self.weight * self.factors()

    def rounded_weight(self) -> Tensor:
        if self.norm is None:
            return super().rounded_weight()
        if torch.is_grad_enabled() or not self.quantizer.is_calibrated:
            return super().rounded_weight() * self.factors().abs()
        # To the bit what is exported: a last bit can tip the rounding of what the layer makes.
        rows = self.codes().flatten(1).view(self.quantizer.groups, -1)
        return (rows * self.scale().unsqueeze(1)).view_as(self.weight)

    def scale(self) -> Tensor:
        scale = super().scale()
        if self.norm is None:
            return scale
        # A channel has one scale, or one for each of several parts.
        by_channel = scale.view(len(self.weight), -1)
        return (by_channel * self.factor().detach().abs().unsqueeze(1)).flatten()

    def signs(self) -> Tensor:
        """(O, 1, ...) 1 or -1: that of each channel's `factor`."""
        return self.factors().detach().sign()

    def training_weight(self) -> Tensor:
        """Q(W) for a training step, before the norm is folded in; it is kept for the penalty."""
        # `coded_weight` with the signs at hand, which turn the rounded weight back.
        signs = None if self.norm is None else self.signs()
        weight = self.weight if signs is None else self.weight * signs
        rounded = self.quantizer(weight)
        self.remember(rounded, weight)
        return rounded if signs is None else rounded * signs

    def put(self, weight: Tensor) -> None:
        # The parameter is the weight before the norm is folded in.
        unscaled = weight / self.factors().detach()
        self.weight.data.copy_(unscaled)

    def shift(self) -> Tensor | None:
        """(O) the bias, with the norm's shift; None where there is neither."""
        if self.norm is None or self.norm.running_mean is None:
            return self.bias
        bias = self.no_bias() if self.bias is None else self.bias
        centred = bias - self.norm.running_mean
        return centred * self.factor() + self.norm.bias

    def no_bias(self) -> Tensor:
        """(O) zeros."""
        return self.weight.new_zeros(len(self.weight))

    def normed(self, product: Tensor) -> Tensor:
        """What the norm behind the product makes of it in training, if there is one."""
        return product if self.norm is None else self.norm(product)


class QuantizedLinear(Normed):
    """y = x^ W^T + b with W (O, D), a scale for each output channel or group."""

    def operands(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """x^, W^ and b of the product (`models.projection`: it may be computed piece by piece)."""
        x = self.read(x)
        if self.training:
            return x, self.training_weight(), self.bias
        return x, self.rounded_weight(), self.shift()

    def forward(self, x: Tensor) -> Tensor:
        product = functional.linear(*self.operands(x))
        # In evaluation the norm is folded into the operands.
        return self.normed(product) if self.training else product


class QuantizedEmbedding(Quantized):
    """Rows of a table (V, D), each with a scale of its own or one for each of its groups.

    Only the rows that a step gathers are quantized in it.
    """

    def __init__(
        self,
        embedding: nn.Embedding,
        quantizer: FakeQuantizer,
    ) -> None:
        super().__init__(quantizer)
        self.weight = embedding.weight
        self.padding_idx = embedding.padding_idx

    def forward(self, ids: Tensor) -> Tensor:
        rows = functional.embedding(ids, self.weight, self.padding_idx)
        if not self.quantizer.is_calibrated:
            return rows
        # The whole table through its quantizer would cost more than the rest of a small model, so
        # rows and scales are gathered first.
        log_scale = self.gathered(ids, self.quantizer.log_scale)
        sign = self.quantizer.sign
        scale = self.quantizer.scale_of(
            log_scale, None if sign is None else self.gathered(ids, sign)
        )
        num_groups = scale.shape[-1]
        rounded = StraightThrough.apply(
            rows.unflatten(-1, (num_groups, -1)),
            scale.unsqueeze(-1),
            # The formats of weights are symmetric: the zero point is 0 in every group.
            self.quantizer.zero[:1],
            self.quantizer.grid,
            self.quantizer.to_levels,
        )
        rounded = rounded.flatten(-2)
        self.remember(rounded, rows)
        return rounded

    def gathered(self, ids: Tensor, by_group: Tensor) -> Tensor:
        """(..., groups of a row) what each group (G) of the rows `ids` has."""
        return functional.embedding(ids, by_group.view(len(self.weight), -1))


class QuantizedConvolution(Normed):
    """y = conv(x^, W^) + b.

    In eval mode the bias is rounded to int32 steps of (input scale x weight scale), as the kernel
    holds it.
    """

    convolve: Callable[..., Tensor]

    def __init__(
        self,
        convolution: nn.Conv1d | nn.Conv2d,
        quantizer: FakeQuantizer,
        norm: Norm | None = None,
    ) -> None:
        super().__init__(convolution, quantizer, norm)
        # Without the padding mode: integers know zeros alone (`plan`).
        self.geometry: dict[str, Any] = {
            "stride": convolution.stride,
            "padding": convolution.padding,
            "dilation": convolution.dilation,
            "groups": convolution.groups,
        }
        # For a model that pads by itself, as its kernel wants it (MobileNet with `tf_padding`).
        self.kernel_size = convolution.kernel_size
        self.stride = convolution.stride
        self.dilation = convolution.dilation

    def positions(self, x: Tensor) -> Tensor:
        stride = self.geometry["stride"]
        padding = self.geometry["padding"]
        dilation = self.geometry["dilation"]
        kernel: tuple[int, ...] = self.weight.shape[2:]
        if self.weight.ndim == 3:
            # `unfold` knows images alone: a sequence is an image of one row.
            x = x.unsqueeze(2)
            stride = (1, *stride)
            padding = (0, *padding)
            dilation = (1, *dilation)
            kernel = (1, *kernel)
        windows = functional.unfold(x, kernel, dilation, padding, stride)
        by_position = windows.transpose(1, 2)
        return by_position.flatten(0, 1)

    def folded_bias(self) -> Tensor:
        """(O) the bias with the norm's shift.

        On the grid of the int32 accumulator where input and weight are quantized.
        """
        shift = self.shift()
        bias = self.no_bias() if shift is None else shift
        if self.input is None or not self.input.is_calibrated:
            return bias
        # As the kernel adds it, so that eval mode shows what is exported.
        step = self.bias_scale()
        return torch.round(bias / step) * step

    def bias_scale(self) -> Tensor:
        """(O) the value of one step of the accumulator."""
        assert self.input is not None
        return self.input.scale * self.scale()

    @torch.no_grad()
    def make_room(self) -> None:
        """Raise the weight's step where the int32 accumulator could not hold the bias.

        A channel whose weights are near 0 has a tiny step, and its bias is counted in steps.
        """
        is_counted = self.quantizer.is_calibrated and self.input is not None
        has_parts = self.quantizer.groups != len(self.weight)
        shift = self.shift()
        if not is_counted or has_parts or shift is None:
            return
        assert self.input is not None
        products = self.weight[0].numel() * GRIDS["uint8"].high * self.quantizer.grid.high
        smallest = shift.abs() / (self.input.scale * (MOST_ACCUMULATED - products))
        # In units of the weight before the norm is folded in, to which the learned step belongs.
        unfolded = smallest / self.factor().abs()
        log_scale = self.quantizer.log_scale
        log_scale.copy_(torch.maximum(log_scale, unfolded.log()))

    def forward(self, x: Tensor) -> Tensor:
        self.make_room()
        x = self.read(x)
        if self.training:
            # Rounding has no gradient: a bias is trained in float.
            weight = self.training_weight()
            return self.normed(self.convolve(x, weight, self.bias, **self.geometry))
        return self.convolve(x, self.rounded_weight(), self.folded_bias(), **self.geometry)


class QuantizedConv1d(QuantizedConvolution):
    """Over (B, C, T)."""

    convolve = staticmethod(functional.conv1d)


class QuantizedConv2d(QuantizedConvolution):
    """Over (B, C, H, W)."""

    convolve = staticmethod(functional.conv2d)


class QuantizedOutput(nn.Module):
    """A module, and the quantizer of what it makes."""

    def __init__(
        self,
        module: nn.Module,
        quantizer: FakeQuantizer,
    ) -> None:
        super().__init__()
        self.module = module
        self.quantizer = quantizer

    @property
    def weight(self) -> Any:
        """The module's, for a model that looks at it (at its dtype, mostly)."""
        return self.module.weight

    def forward(self, *inputs: Any) -> Tensor:
        return self.quantizer(self.module(*inputs))


def activation_quantizers(model: nn.Module) -> list[FakeQuantizer]:
    """Every activation quantizer of `model` once."""
    of_weights = set()
    for module in model.modules():
        if isinstance(module, Quantized):
            of_weights.add(module.quantizer)
    return [
        module
        for module in model.modules()
        if isinstance(module, FakeQuantizer) and module not in of_weights
    ]


def find(model: nn.Module, name: str) -> nn.Module:
    """The module that has the `name` in the float model.

    Modules whose outputs are quantized stand in a `QuantizedOutput`, which takes their name: such
    wrappings on the way, and that of the module itself, are looked through.
    """
    module = model
    for part in name.split("."):
        module = module.get_submodule(part)
        if isinstance(module, QuantizedOutput):
            module = module.module
    return module


def squared_error(model: nn.Module) -> Tensor:
    """mean (Q(w) - w)^2 over every weight that the last forward pass quantized; a scalar, >= 0.

    The gradient pulls w to its grid point, which stands still.
    """
    # Kept by the forward pass, so that no weight is rounded twice in a step.
    pairs = []
    for module in model.modules():
        if isinstance(module, Quantized) and module.pair is not None:
            pairs.append(module.pair)
    if not pairs:
        return zero_on_device_of(model)
    errors = []
    count = 0
    for rounded, weight in pairs:
        error = functional.mse_loss(weight, rounded, reduction="sum")
        errors.append(error)
        count += weight.numel()
    return torch.stack(errors).sum() / count
