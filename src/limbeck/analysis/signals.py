"""Signal to noise of quantized tensors, summed over the batches of a pass.

    10 log10(sum x^2 / sum (x^ - x)^2) decibels

with x the float values and x^ what quantization makes of them: 20 dB is a relative error of 10 %.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.core.grids import GRIDS
from limbeck.models.precision import in_float64
from limbeck.quantization.modules.fake import dynamic
from limbeck.quantization.modules.swap import Quantized

# In steps of the grid. Rounding moves a value by half a step at most, so what moved further was
# clipped; the thousandth is for the rounding of float32.
CLIPPED = 0.501


@dataclass
class Signal:
    """Sums over all pairs of tensors seen so far.

    power: sum of x^2, over float values x.
    noise: sum of (x^ - x)^2, over what quantization makes of them.
    """

    power: float = 0.0
    noise: float = 0.0

    def add(self, exact: Tensor, rounded: Tensor) -> None:
        """Count one more tensor: its float values, and the quantized ones of the same shape."""
        # In float32 the squares of a million values lose the small ones.
        wide = in_float64(exact)
        difference = in_float64(rounded) - wide
        self.power += float(wide.square().sum())
        self.noise += float(difference.square().sum())

    @property
    def decibels(self) -> float | None:
        """Signal to noise; None where nothing was lost, or all values are 0."""
        if not self.noise or not self.power:
            return None
        return 10 * math.log10(self.power / self.noise)

    @property
    def error(self) -> float:
        """The relative error |x^ - x| / |x|, 0 or more."""
        return math.sqrt(self.noise / self.power) if self.power else 0.0


def signal_of(exact: Tensor, rounded: Tensor) -> Signal:
    """The signal of one pair of tensors of the same shape.

    Example:
        >>> signal_of(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5])).decibels
        20.0
    """
    signal = Signal()
    signal.add(exact, rounded)
    return signal


@dataclass
class InputStatistics:
    """What was read in integers; layers that read the same tensor with a static range share it.

    signal: of the tensor before and after its quantizer.
    low, high: the extremes of its float values.
    clipped: how many of its values lay beyond the range.
    seen: how many values there were.
    """

    signal: Signal = field(default_factory=Signal)
    low: float = math.inf
    high: float = -math.inf
    clipped: int = 0
    seen: int = 0

    def add(
        self,
        x: Tensor,
        rounded: Tensor,
        step: Tensor | float,
    ) -> None:
        """Count one more tensor, quantized with steps of the size `step`."""
        # Its power serves the root mean square of `peak`, too.
        self.signal.add(x, rounded)
        self.low = min(self.low, float(x.min()))
        self.high = max(self.high, float(x.max()))
        is_clipped = (rounded - x).abs() > CLIPPED * step
        self.clipped += int(is_clipped.sum())
        self.seen += x.numel()

    @property
    def peak(self) -> float:
        """The largest |x| over the root mean square: how far outliers stretch the range."""
        if not self.signal.power:
            return 0.0
        root_mean_square = math.sqrt(self.signal.power / self.seen)
        return max(-self.low, self.high) / root_mean_square


# By quantizer where the range is static, by layer where it is found anew for every row.
StatisticsByReader = dict[nn.Module, InputStatistics]


@contextlib.contextmanager
def watching_inputs(statistics: StatisticsByReader) -> Iterator[None]:
    """Inside, every forward adds what it reads in integers to `statistics`."""
    handles = []
    for module, sums in statistics.items():
        see = _see_dynamic if isinstance(module, Quantized) else _see_static
        handles.append(module.register_forward_hook(partial(see, sums)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _see_static(
    sums: InputStatistics,
    quantizer: nn.Module,
    inputs: Any,
    output: Tensor,
) -> None:
    step = quantizer.scale
    assert isinstance(step, Tensor)
    # A quantizer's input and output are the tensor before and after the grid.
    sums.add(inputs[0], output, step)


def _see_dynamic(
    sums: InputStatistics,
    layer: nn.Module,
    inputs: Any,
    output: object,
) -> None:
    assert isinstance(layer, Quantized)
    x = inputs[0] if layer.basis is None else layer.basis(inputs[0])
    rounded = dynamic(x.float(), GRIDS["uint8"])
    # Its own extremes are the range of a dynamic tensor, so nothing is clipped: an infinite step.
    sums.add(x, rounded, math.inf)


def peak(rows: Tensor) -> float:
    """The largest value over the root mean square of its row, at worst over all rows (groups, n).

    Of a layer's weights, a row is what shares a scale. 0 where all values are 0.
    """
    # A row of zeros has no root mean square to divide by.
    smallest = torch.finfo(torch.float32).tiny
    root_mean_square = rows.square().mean(1).sqrt()
    peaks = rows.abs().amax(1) / root_mean_square.clamp_min(smallest)
    return float(peaks.max())
