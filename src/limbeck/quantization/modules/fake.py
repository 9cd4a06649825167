"""Fake quantization: values rounded to their grid in the forward pass, passed on in the backward.

    x^ = dequantize(quantize(x)) = (c - z) s        s scale, z zero point, c code

With t = x / s + z, the gradients are:

- dx^/dx = 1 inside the grid, 0 outside (straight-through; Bengio et al., 2013, arXiv 1308.3432).
- dx^/d log(s) = s (c - z - [inside] (t - z)) / sqrt(n Q_P) (LSQ, Esser et al., 2020,
  arXiv 1902.08153, equation 3 and section 2.2, times s since the parameter is its logarithm). n is
  the number of values that share the scale, Q_P the grid's highest level. Where s is to be an fp16
  number, perhaps below 0, it is one in the forward pass already (`half_scales`).

Inside reaches half a step beyond the outermost levels, for `binary` to 2 s. BinaryConnect
(Courbariaux et al., 2015, arXiv 1511.00363, section 2.4) and XNOR-Net (arXiv 1603.05279, section
3.1) stop at 1, whatever the size of the weights; at the scale, the mean |w|, two normal weights of
five would never move again.

Two ranges differ on affine grids:

- Where an offset is learned, dx^/dz = -s outside and 0 inside, times the same 1 / sqrt(n Q_P)
  (LSQ+, arXiv 2004.09576, section 3).
- Where a clipping bound is learned, x is clipped first, which alone moves the bound (PACT,
  arXiv 1805.06085, equations 1-3).

Shapes: G groups of values that share a scale.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.core import registry
from limbeck.core.contract import place, wrong_return
from limbeck.core.grids import GRIDS, Grid
from limbeck.models.processes import row_share
from limbeck.quantization.affine import dequantize, fit_interval, quantize
from limbeck.quantization.grids_torch import nearest_level
from limbeck.quantization.half_scales import HalfScale, signs
from limbeck.quantization.host_copy import HostCopy
from limbeck.quantization.ranges import Fit, Range
from limbeck.quantization.roundings import Rounding, levels_of
from limbeck.quantization.roundings.nearest import Nearest

# A share of a bound: ten times float32's relative rounding error, so that the highest level stays
# below the bound after exp(log(scale)).
MARGIN = 1e-6


class StraightThrough(torch.autograd.Function):
    """(x, scale, zero_point, grid, to_levels) -> x^, of the shape of x.

    `scale` and `zero_point` broadcast against x; `to_levels` rounds x / scale, to the nearest level
    where it is None. The gradient of `scale` is LSQ's, times 1 / sqrt(n Q_P).

    What this costs are passes over memory, and in PyTorch's CPU kernels a pass that makes or reads
    booleans costs as much as twenty others. So `passed` tells what is inside the grid without any,
    and the forward pass prepares the slope d x^ / d scale for the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        grid: Grid,
        to_levels: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        # 1. The codes, less their zero point.
        steps = x / scale
        levels = to_levels(steps) if to_levels else nearest_level(steps, grid)
        levels.add_(zero_point)
        codes = levels.clamp(grid.low, grid.high).sub_(zero_point)
        # 2. The slope is the residual (c - z) - x / s inside the grid, and c - z outside. It takes
        #    the memory of the steps inside, which nobody needs any more.
        inside = passed(steps, levels, grid)
        slope = torch.sub(codes, inside, out=inside)
        # 3. What the backward pass needs.
        ctx.grid = grid
        # n counts the values of the whole batch, whichever process reads them. Weights, whose
        # grids are symmetric, do not depend on how many rows are read.
        share = 1.0 if grid.symmetric else row_share.value
        count = max(1, x.numel() // scale.numel()) / share
        ctx.save_for_backward(slope, levels, scale)
        ctx.gradient_scale = 1 / math.sqrt(count * grid.high)
        return codes.mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        slope, levels, scale = ctx.saved_tensors
        to_x = passed(gradient, levels, ctx.grid)
        _, needs_scale, needs_zero_point, *_ = ctx.needs_input_grad
        if not needs_scale:
            return to_x, None, None, None, None
        to_scale = (slope * gradient).sum_to_size(scale.shape) * ctx.gradient_scale
        to_zero_point = None
        if needs_zero_point:
            factor = scale * ctx.gradient_scale
            to_zero_point = (to_x - gradient).sum_to_size(scale.shape) * factor
        return to_x, to_scale, to_zero_point, None, None


def passed(values: Tensor, levels: Tensor, grid: Grid) -> Tensor:
    """`values` where their level is one of the grid's, 0 where it lies beyond the grid's ends.

    No format has a level within half a step beyond its ends. A floating one leaves a value that
    lies there unrounded, and lets it pass.
    """
    # The gradient of a clamp is this very choice, in one pass and without booleans.
    lowest = grid.low - 0.5
    highest = grid.high + 0.5
    return torch.ops.aten.hardtanh_backward(values, levels, lowest, highest)


class Clip(torch.autograd.Function):
    """(x, low, high) -> x between two scalars, each of shape (1).

    The gradient of a clipped value goes to the bound that clipped it, any other to x.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        low: Tensor,
        high: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x < low, x > high)
        if x.device.type == "cpu":
            # Numbers clamp in less time than tensors do, and on a CPU alone they cost no wait.
            return x.clamp(low.item(), high.item())
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        (gradient,) = gradients
        is_below, is_above = ctx.saved_tensors
        below = torch.where(is_below, gradient, 0)
        above = torch.where(is_above, gradient, 0)
        to_x = gradient - below - above
        to_low = below.sum().view(1)
        to_high = above.sum().view(1)
        return to_x, to_low, to_high


class FakeQuantizer(nn.Module):
    """The quantizer of one tensor: of a weight, or of what modules read.

    It passes values through until it is calibrated; between `begin` and `finish` it observes what
    it passes.

    Args:
        grid: the levels.
        range_class: how scale and zero point are found, and whether they are learned on.
        groups: how many scales there are. A group is as many neighbouring values (an output
            channel's weights, or a part of them), or the whole tensor (1).
        bound: no value is larger (6 after a ReLU6). A scale that reached beyond it would waste
            codes, and keep runtimes from leaving the clipping to the grid.
        rounding: how a weight reaches the grid; to the nearest level where left out.
        device: where its state lies; the CPU where left out.

    Checkpoints hold `log_scale` (G), `zero` (G), the flag `calibrated`, where it is learned
    `offset` (1), the zero point as a share of the grid from 0 to 1, and `sign` (G), 1 or -1, where
    scales are fp16 numbers.

    Example:
        >>> from limbeck.core.grids import GRIDS
        >>> from limbeck.quantization.ranges.minmax import Minmax
        >>> quantizer = FakeQuantizer(GRIDS["uint8"], Minmax)
        >>> quantizer.begin()
        >>> x = quantizer(torch.tensor([0.0, 25.6, 255.0]))
        >>> quantizer.finish()
        >>> quantizer(torch.tensor([0.0, 25.6, 300.0]))
        tensor([  0.,  26., 255.])
    """

    zero: Tensor
    sign: Tensor | None
    calibrated: Tensor

    def __init__(
        self,
        grid: Grid,
        range_class: type[Range],
        groups: int = 1,
        *,
        bound: float | None = None,
        rounding: Rounding | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.range_class = range_class
        self.groups = groups
        self.rounding: Rounding = rounding or Nearest()
        # A whole tensor keeps its shape, which saves a copy where it does not lie in one piece; a
        # rounding of weights is shown a group a row.
        self.is_whole = groups == 1 and rounding is None
        self.largest_log_scale = math.inf
        if bound is not None:
            self.largest_log_scale = math.log((1 - MARGIN) * bound / grid.high)
        self.clipped_only = range_class.clipped_only and not grid.symmetric
        self.observer: Range | None = None
        self.log_scale = nn.Parameter(
            torch.zeros(groups, device=device), requires_grad=range_class.learned
        )
        self.register_buffer("zero", torch.zeros(groups, device=device))
        self.offset: nn.Parameter | None = None
        if range_class.learned_offset and not grid.symmetric:
            self.offset = nn.Parameter(torch.zeros(groups, device=device))
        if self.offset is not None or self.clipped_only:
            assert groups == 1, "offsets and bounds are those of whole tensors"
        self.register_buffer("sign", None)
        calibrated = torch.zeros((), dtype=torch.bool, device=device)
        self.register_buffer("calibrated", calibrated)
        # What every step asks of the two buffers, kept where asking costs no wait.
        self.calibrated_copy = HostCopy()
        self.zero_copy = HostCopy()

    def keep_half(self) -> None:
        """Keep scales on fp16's numbers, signed where that gains (`half_scales`)."""
        assert self.grid.symmetric, "a sign turns the values of a grid around zero"
        self.sign = torch.ones_like(self.zero)

    def alike(self, grid: Grid) -> "FakeQuantizer":
        """One that is not fitted yet, of the same kind on another grid."""
        quantizer = FakeQuantizer(
            grid,
            self.range_class,
            self.groups,
            rounding=self.rounding,
            device=self.zero.device,
        )
        if self.is_half:
            quantizer.keep_half()
        return quantizer

    @property
    def is_half(self) -> bool:
        """Whether its scales are fp16 numbers."""
        return self.sign is not None

    @property
    def is_calibrated(self) -> bool:
        """Whether it quantizes: the buffer `calibrated`, read without a wait for the device."""
        return bool(self.calibrated_copy.of(self.calibrated))

    @property
    def is_never_negative(self) -> bool:
        """Whether its tensor had no negative value when the range was fitted; groups must be 1."""
        return self.zero_copy.of(self.zero) == self.grid.low

    @property
    def scale(self) -> Tensor:
        """(G), without a gradient; below 0 only where `sign` is."""
        log_scale = self.log_scale.detach().clamp_max(self.largest_log_scale)
        return self.scale_of(log_scale, self.sign)

    def scale_of(self, log_scale: Tensor, sign: Tensor | None) -> Tensor:
        """The scales that values are divided by, with their gradient; `sign` beside `log_scale`."""
        if sign is None:
            return log_scale.exp()
        scale: Tensor = HalfScale.apply(log_scale, sign)
        return scale

    @property
    def zero_point(self) -> Tensor:
        """(G), integers of the grid."""
        # What was never negative keeps 0: a ReLU before it is then part of the integer kernel.
        if self.offset is None or self.is_never_negative:
            return self.zero
        above_lowest = torch.round(self.offset.detach() * self.levels)
        return self.grid.low + above_lowest.clamp(0, self.levels)

    @property
    def levels(self) -> int:
        """How many levels above the lowest the highest is."""
        return self.grid.high - self.grid.low

    def forward(self, x: Tensor) -> Tensor:
        # 1. Observe, or pass on what cannot be quantized yet.
        if self.observer is not None:
            values = x.detach().float().reshape(self.groups, -1)
            if self.sign is not None:
                # Turned, so that every range may fit a scale above 0. A weight is observed once.
                self.sign.copy_(signs(values, self.grid))
                values = values * self.sign.unsqueeze(1)
            self.observer.observe(values)
            return x
        if not self.is_calibrated:
            return x
        # 2. Keep the scale below its bound. It is projected there: the gradient of a clamp would
        #    be 0 beyond the bound, and hold it there.
        if self.largest_log_scale < math.inf:
            with torch.no_grad():
                self.log_scale.clamp_max_(self.largest_log_scale)
        # 3. Round, after the learned bounds have clipped.
        rows = self.rows(x.float())
        log_scale = self.log_scale.view(self.column)
        zero_point = self.moving_zero_point()
        if self.clipped_only:
            rows = Clip.apply(rows, *self.bounds())
            log_scale = log_scale.detach()
        sign = None if self.sign is None else self.sign.view(self.column)
        scale = self.scale_of(log_scale, sign)
        rounded = StraightThrough.apply(rows, scale, zero_point, self.grid, self.to_levels)
        return rounded.view(x.shape)

    def bounds(self) -> list[Tensor]:
        """What the lowest and the highest level stand for, (G) each, with the scale's gradient."""
        low = self.grid.low - self.zero_point
        high = self.grid.high - self.zero_point
        # Of one shared exp() the gradients would add up in another order, and round otherwise.
        return [low * self.log_scale.exp(), high * self.log_scale.exp()]

    def moving_zero_point(self) -> Tensor:
        """The zero point beside `rows`, with its gradient where an offset is learned."""
        if self.grid.symmetric:
            # It is 0 in every group, and one number is subtracted faster than a column of them.
            return self.zero[:1]
        if self.offset is None or self.is_never_negative:
            return self.zero.view(self.column)
        # Projected as the scale is, and straight through its rounding.
        with torch.no_grad():
            self.offset.clamp_(0, 1)
        only_gradient = self.offset - self.offset.detach()
        moving = self.zero_point + self.levels * only_gradient
        return moving.view(self.column)

    def to_levels(self, steps: Tensor) -> Tensor:
        """Values divided by their scale, rounded to levels, not yet clamped to the grid."""
        return levels_of(self.rounding, steps, self.grid, training=self.training)

    @property
    def column(self) -> tuple[int, ...]:
        """The shape of scales that stand beside `rows`."""
        return (1,) if self.is_whole else (-1, 1)

    def rows(self, x: Tensor) -> Tensor:
        """(G, count); a whole tensor in its own shape."""
        return x if self.is_whole else x.reshape(self.groups, -1)

    def begin(self) -> None:
        """Observe from now on."""
        self.observer = self.range_class(self.grid)

    def finish(self) -> None:
        """Fit the range to what was observed, and quantize from now on.

        Raises:
            ValueError: nothing was observed, or values that are not finite; or the range gave no
                scale and zero point for each group.
        """
        assert self.observer is not None
        scale, zero_point = self.checked(self.observer.fit())
        with torch.no_grad():
            self.log_scale.copy_(scale.log())
            self.zero.copy_(zero_point)
            if self.offset is not None:
                above_lowest = zero_point - self.grid.low
                self.offset.copy_(above_lowest / self.levels)
            self.calibrated.fill_(True)
        # Read now, where the host waits anyway, so that no training step has to.
        _ = self.is_calibrated, self.is_never_negative if self.groups == 1 else None
        self.observer = None

    @torch.no_grad()
    def cover(self, weight: Tensor) -> None:
        """Let the grid cover a weight as it stands, with no wait for the device."""
        values = self.rows(weight.detach().float())
        if self.sign is not None:
            self.sign.copy_(signs(values, self.grid))
            values = values * self.sign.unsqueeze(1)
        low, high = values.aminmax(dim=1)
        scale, _ = fit_interval(low, high, self.grid)
        self.log_scale.copy_(scale.log())

    def checked(self, fit: Fit) -> Fit:
        """What a range, perhaps somebody else's, fitted. Raises ValueError where it is wrong."""
        told = f"the range `{registry.name_of('ranges', self.range_class)}`"
        fitting = self.range_class.fit
        is_pair = isinstance(fit, tuple) and len(fit) == 2
        if not is_pair or not all(isinstance(each, Tensor) for each in fit):
            expected = "two tensors: a scale and a zero point for each group"
            raise wrong_return(told, "fit", fit, expected, fitting)
        told += place(fitting)
        shape = tuple(self.log_scale.shape)
        for what, values in zip(("scale", "zero point"), fit, strict=True):
            if tuple(values.shape) != shape:
                raise ValueError(
                    f"{told} gave a {what} of shape {tuple(values.shape)}; "
                    f"{shape[0]} groups were observed, so {shape} was expected"
                )
            if not bool(values.isfinite().all()):
                raise ValueError(f"{told} gave a {what} that is not finite")
        scale, zero_point = fit
        if not bool((scale > 0).all()):
            raise ValueError(f"{told} gave a scale that is not above 0")
        is_level = zero_point == zero_point.round().clamp(self.grid.low, self.grid.high)
        if self.grid.symmetric:
            is_level = zero_point == 0
        if not bool(is_level.all()):
            found = float(zero_point[~is_level][0])
            low, high = (0, 0) if self.grid.symmetric else (self.grid.low, self.grid.high)
            raise ValueError(
                f"{told} gave {found:g} as a zero point; a whole number from {low} to "
                f"{high} is expected on this grid. `quantization.affine.fit_interval` gives one"
            )
        return fit

    def codes(self, x: Tensor) -> Tensor:
        """The integers of `x`, in its shape, as float32."""
        return self.unclamped(x).clamp(self.grid.low, self.grid.high)

    def unclamped(self, x: Tensor) -> Tensor:
        """The codes that a grid without ends would give `x`, in its shape."""
        values = self.rows(x.detach().float())
        scale = self.scale.view(self.column)
        zero_point = self.zero_point.view(self.column)
        steps = values / scale
        levels = levels_of(self.rounding, steps, self.grid, training=False)
        return (levels + zero_point).view(x.shape)


def zero_on_device_of(model: nn.Module) -> Tensor:
    """The scalar 0 on the device of the model's first parameter."""
    return next(model.parameters()).new_zeros(())


def squared_bounds(model: nn.Module) -> Tensor:
    """The sum of alpha^2 over every learned clipping bound (PACT, arXiv 1805.06085, section 3).

    Of both ends where a tensor is clipped at both.
    """
    ends: list[Tensor] = []
    for module in model.modules():
        if not isinstance(module, FakeQuantizer) or not module.clipped_only:
            continue
        # Before its range is fitted, a bound is an arbitrary number that must not be pulled on.
        if module.is_calibrated:
            ends += module.bounds()
    return torch.cat(ends).square().sum() if ends else zero_on_device_of(model)


def by_token(x: Tensor, group: int, *, is_half: bool) -> Tensor:
    """x^ (..., D) as int8, symmetric, with a scale for each `group` neighbours of each token.

    A row's answer then does not depend on its neighbours. With `is_half` the scale that codes are
    multiplied by is an fp16 number, as in ggml's Q8_0 blocks, which llama.cpp makes of what it
    multiplies. Straight-through in the backward pass.
    """
    groups = x.detach().unflatten(-1, (-1, group))
    largest = groups.abs().amax(-1, keepdim=True)
    # A group of zeros has no range; the smallest scale keeps 0 / scale finite.
    scale = (largest / GRIDS["int8"].high).clamp_min(torch.finfo(torch.float32).tiny)
    codes = torch.round(groups / scale)
    # Codes are counted in the float32 scale, as ggml does, and mean multiples of the stored one.
    stored = scale.half().float() if is_half else scale
    rounded = (codes * stored).flatten(-2)
    return x + (rounded - x).detach() if x.requires_grad else rounded


def dynamic(x: Tensor, grid: Grid) -> Tensor:
    """x^ with the range of this very tensor, as ONNX's DynamicQuantizeLinear finds it.

    Straight-through in the backward pass.
    """
    values = x.detach()
    low = values.amin().clamp_max(0)
    high = values.amax().clamp_min(0)
    # A tensor of zeros has no range; the smallest scale keeps 0 / scale finite.
    smallest = torch.finfo(torch.float32).tiny
    num_steps = grid.high - grid.low
    scale = ((high - low) / num_steps).clamp_min(smallest)
    zero_point = torch.round(grid.low - low / scale)
    zero_point = zero_point.clamp(grid.low, grid.high)
    codes = quantize(values, scale, zero_point, grid)
    rounded = dequantize(codes, scale, zero_point)
    return x + (rounded - x).detach() if x.requires_grad else rounded
