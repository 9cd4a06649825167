"""Fake quantization: x^ = dequantize(quantize(x)) forward, straight-through backward, with the learned-step gradient.

With t = x / scale + zero_point and c the code: dx^/dx = 1 inside the grid, 0 outside (Bengio et al., 2013, arXiv 1308.3432), and
dx^/d log(scale) = scale * (c - zero_point - [inside] (t - zero_point)) / sqrt(n Q_P) (LSQ, arXiv 1902.08153, equation 3 and section 2.2, times
the scale
since the parameter is its logarithm). n is the number of values that share the scale. Inside reaches half a step beyond the outermost levels: for
`binary` to 2 scale. BinaryConnect (arXiv 1511.00363, section 2.4) and XNOR-Net (arXiv 1603.05279, section 3.1) stop at 1, whatever the weights'
size; at the scale, the mean |w|, two normal weights of five would never move again.

Two ranges differ on affine grids. Where an offset is learned, dx^/d zero_point = -scale outside and 0 inside, times the same 1 / sqrt(n Q_P)
(LSQ+, arXiv 2004.09576, section 3). Where a clipping bound is learned, x is clipped first, which alone moves the bound (PACT, arXiv 1805.06085,
equations 1-3).
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from limbeck.core.grids import Grid
from limbeck.quantization.affine import dequantize, quantize
from limbeck.quantization.grids_torch import nearest_level
from limbeck.quantization.host_copy import HostCopy
from limbeck.quantization.ranges import Range
from limbeck.quantization.roundings import Rounding
from limbeck.quantization.roundings.nearest import Nearest

MARGIN = 1e-6  # of a bound, for the rounding of float32


class StraightThrough(torch.autograd.Function):
    """(x, log_scale, zero_point, grid, to_levels) -> x^; scale and zero point broadcast against x, `to_levels` rounds x / scale.

    Passes over memory are what this costs, and a pass that makes or reads booleans costs PyTorch's CPU kernels as much as twenty others: so what is
    inside the grid is told by `passed`, and the forward prepares the slope: the residual (c - z) - x / scale inside the grid, c - z outside.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        log_scale: torch.Tensor,
        zero_point: torch.Tensor,
        grid: Grid,
        to_levels: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        scale = log_scale.exp()
        steps = x / scale
        levels = to_levels(steps) if to_levels else nearest_level(steps, grid)
        levels.add_(zero_point)
        codes = levels.clamp(grid.low, grid.high).sub_(zero_point)
        inside = passed(steps, levels, grid)
        ctx.save_for_backward(torch.sub(codes, inside, out=inside), levels, scale)
        ctx.grid, ctx.gradient_scale = (
            grid,
            1 / math.sqrt(max(1, x.numel() // scale.numel()) * grid.high),
        )
        return codes.mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = gradients
        slope, levels, scale = ctx.saved_tensors
        inside = passed(gradient, levels, ctx.grid)
        if not ctx.needs_input_grad[1]:
            return inside, None, None, None, None
        factor = scale * ctx.gradient_scale
        to_zero_point = (
            (inside - gradient).sum_to_size(scale.shape) * factor
            if ctx.needs_input_grad[2]
            else None
        )
        return (
            inside,
            (slope * gradient).sum_to_size(scale.shape) * factor,
            to_zero_point,
            None,
            None,
        )


def passed(values: torch.Tensor, levels: torch.Tensor, grid: Grid) -> torch.Tensor:
    """`values` where their level is one of the grid's, 0 beyond its ends. No format has a level within half a step beyond them; a floating one
    leaves what lies there unrounded, and lets it pass."""
    return torch.ops.aten.hardtanh_backward(values, levels, grid.low - 0.5, grid.high + 0.5)


class Clip(torch.autograd.Function):
    """(x, low, high) -> x between two scalars, each (1). The gradient of a clipped value goes to its bound, any other to x."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x < low, x > high)
        if x.device.type == "cpu":
            # Numbers clamp in less time than tensors do, and on a CPU alone they cost no wait.
            return x.clamp(low.item(), high.item())
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        (gradient,) = gradients
        below, above = (torch.where(outside, gradient, 0) for outside in ctx.saved_tensors)
        return gradient - below - above, below.sum().view(1), above.sum().view(1)


class FakeQuantizer(nn.Module):
    """One tensor's quantizer. `groups`: how many scales; a group is as many neighbouring values (an output channel's weights, or a part of them),
    or the whole tensor (1).

    It passes values through until `calibrated`; between `begin` and `finish` it observes what it passes. `bound`: no value is larger (6 after
    ReLU6); a scale that reached beyond it would waste codes, and keep runtimes from leaving the clipping to the grid. `rounding`: a weight's;
    nearest where left open. `offset`: where learned, the zero point as a share of the grid.
    """

    zero: torch.Tensor
    calibrated: torch.Tensor

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
        self.rounding: Rounding = rounding or Nearest()
        self.largest_log_scale = (
            math.inf if bound is None else math.log((1 - MARGIN) * bound / grid.high)
        )
        self.grid = grid
        self.range_class = range_class
        self.groups = groups
        self.is_whole = (
            groups == 1 and rounding is None
        )  # a tensor of any shape; a rounding is shown a group a row
        self.observer: Range | None = None
        self.log_scale = nn.Parameter(
            torch.zeros(groups, device=device), requires_grad=range_class.learned
        )
        self.register_buffer("zero", torch.zeros(groups, device=device))
        self.offset = (
            nn.Parameter(torch.zeros(groups, device=device))
            if range_class.learned_offset and not grid.symmetric
            else None
        )
        self.clipped_only = range_class.clipped_only and not grid.symmetric
        assert groups == 1 or not (self.offset is not None or self.clipped_only), (
            "offsets and bounds are those of whole tensors"
        )
        self.register_buffer("calibrated", torch.zeros((), dtype=torch.bool, device=device))
        self.calibrated_copy = HostCopy()
        self.zero_copy = HostCopy()

    @property
    def is_calibrated(self) -> bool:
        """Whether it quantizes: the buffer `calibrated`, which checkpoints keep, read without a wait."""
        return bool(self.calibrated_copy.of(self.calibrated))

    @property
    def is_never_negative(self) -> bool:
        """Whether the whole tensor had no negative value when its range was fitted."""
        return self.zero_copy.of(self.zero) == self.grid.low

    @property
    def scale(self) -> torch.Tensor:
        """(groups), positive."""
        return self.log_scale.detach().clamp_max(self.largest_log_scale).exp()

    @property
    def zero_point(self) -> torch.Tensor:
        """(groups), integers of the grid. What was never negative keeps 0: a ReLU before is then part of the integer kernel."""
        if self.offset is None or self.is_never_negative:
            return self.zero
        return self.grid.low + torch.round(self.offset.detach() * self.levels).clamp(0, self.levels)

    @property
    def levels(self) -> int:
        """From the lowest level to the highest."""
        return self.grid.high - self.grid.low

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.observer is not None:
            self.observer.observe(x.detach().float().reshape(self.groups, -1))
            return x
        if not self.is_calibrated:
            return x
        if self.largest_log_scale < math.inf:
            with torch.no_grad():
                self.log_scale.clamp_max_(
                    self.largest_log_scale
                )  # projected: a clamp's gradient of 0 would hold it there
        zero_point = (
            self.zero[:1] if self.grid.symmetric else self.moving_zero_point().view(self.column)
        )  # a symmetric grid's is 0 in every group
        rows, log_scale = self.rows(x.float()), self.log_scale.view(self.column)
        if self.clipped_only:
            rows, log_scale = Clip.apply(rows, *self.bounds()), log_scale.detach()
        return StraightThrough.apply(rows, log_scale, zero_point, self.grid, self.to_levels).view(
            x.shape
        )

    def bounds(self) -> list[torch.Tensor]:
        """The values of the lowest and of the highest level, (groups) each, with the scale's gradient."""
        return [
            (end - self.zero_point) * self.log_scale.exp()
            for end in (self.grid.low, self.grid.high)
        ]

    def moving_zero_point(self) -> torch.Tensor:
        """The zero point, with its gradient where an offset is learned: straight through its rounding, projected as the scale is."""
        if self.offset is None or self.is_never_negative:
            return self.zero
        with torch.no_grad():
            self.offset.clamp_(0, 1)
        return self.zero_point + self.levels * (self.offset - self.offset.detach())

    def to_levels(self, steps: torch.Tensor) -> torch.Tensor:
        """Values divided by their scale, rounded, not yet clamped."""
        return self.rounding.round(steps, self.grid, training=self.training)

    @property
    def column(self) -> tuple[int, ...]:
        """The shape of scales that stand beside `rows`."""
        return (1,) if self.is_whole else (-1, 1)

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        """(groups, count); a whole tensor as it is, which need not lie in one piece."""
        return x if self.is_whole else x.reshape(self.groups, -1)

    def begin(self) -> None:
        """Observe from now on."""
        self.observer = self.range_class(self.grid)

    def finish(self) -> None:
        """Fit the range to what was observed, and quantize from now on. Raises ValueError where nothing was observed."""
        assert self.observer is not None
        scale, zero_point = self.observer.fit()
        with torch.no_grad():
            self.log_scale.copy_(scale.log())
            self.zero.copy_(zero_point)
            if self.offset is not None:
                self.offset.copy_((zero_point - self.grid.low) / self.levels)
            self.calibrated.fill_(True)
        self.observer = None

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        """The integers of `x`, as float32."""
        return self.unclamped(x).clamp(self.grid.low, self.grid.high)

    def unclamped(self, x: torch.Tensor) -> torch.Tensor:
        """Codes of a grid without ends."""
        rounded = self.rounding.round(
            self.rows(x.detach().float()) / self.scale.view(self.column), self.grid, training=False
        )
        return (rounded + self.zero_point.view(self.column)).view(x.shape)


def zero_on_device_of(model: nn.Module) -> torch.Tensor:
    """The scalar 0 on the device of the model's first parameter."""
    return next(model.parameters()).new_zeros(())


def squared_bounds(model: nn.Module) -> torch.Tensor:
    """The sum of alpha^2 over every learned clipping bound (PACT, arXiv 1805.06085, section 3), of both ends where a tensor is clipped at both."""
    learning = [
        module
        for module in model.modules()
        if isinstance(module, FakeQuantizer) and module.clipped_only and module.is_calibrated
    ]
    ends = [end for module in learning for end in module.bounds()]
    return torch.cat(ends).square().sum() if ends else zero_on_device_of(model)


def dynamic(x: torch.Tensor, grid: Grid) -> torch.Tensor:
    """x^ with the range of this very tensor, as ONNX DynamicQuantizeLinear finds it; straight-through backward."""
    low, high = x.detach().amin().clamp_max(0), x.detach().amax().clamp_min(0)
    scale = ((high - low) / (grid.high - grid.low)).clamp_min(torch.finfo(torch.float32).tiny)
    zero_point = torch.round(grid.low - low / scale).clamp(grid.low, grid.high)
    rounded = dequantize(quantize(x.detach(), scale, zero_point, grid), scale, zero_point)
    return x + (rounded - x).detach() if x.requires_grad else rounded
