"""The axes of a chart: values to pixels, and round numbers beside them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from limbeck.reports.numbers import MINUS


@dataclass(frozen=True)
class Axis:
    """The values `low` to `high` on the pixels `start` to `end`.

    log: by decades. whole: with ticks at integers only, as for steps.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    whole: bool = False

    @classmethod
    def over(
        cls,
        values: Sequence[float],
        start: float,
        end: float,
        *,
        log: bool = False,
        whole: bool = False,
    ) -> "Axis":
        """An axis that holds every value, with a little air (none on an axis of steps)."""
        low = min(values)
        high = max(values)
        if log:
            # By a factor: what is subtracted from the lowest value could leave it below 0.
            return cls(low / 1.15, high * 1.15, start, end, log=True)
        if high == low:
            # One value needs a width all the same: half a step, or a twentieth of the value.
            air = max(0.5 * whole, 0.05 * abs(high), 1e-9)
        else:
            # Steps run from edge to edge; a mean and its interval would else lie on the frame.
            air = 0.0 if whole else 0.06 * (high - low)
        return cls(low - air, high + air, start, end, whole=whole)

    def at(self, value: float) -> float:
        """The pixel of a value, to a tenth."""
        low = self.low
        high = self.high
        place = value
        if self.log:
            low = math.log10(low)
            high = math.log10(high)
            place = math.log10(place)
        share = (place - low) / (high - low)
        length = self.end - self.start
        # A tenth of a pixel is not seen: more digits only make the page longer.
        return round(self.start + share * length, 1)

    def ticks(self) -> list[tuple[float, str]]:
        """(pixel, text) of about three to eight round values."""
        if self.log:
            values = _log_ticks(self.low, self.high)
        else:
            values = _even_ticks(self.low, self.high, whole=self.whole)
        return [(self.at(value), _tick_text(value)) for value in values]


def _tick_text(value: float) -> str:
    """1e-05 as 1e-5, to save room, with the sign that is as wide as a digit."""
    return f"{value:g}".replace("e-0", "e-").replace("-", MINUS)


def _even_ticks(low: float, high: float, *, whole: bool) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, about five of them."""
    wanted = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(wanted))
    for factor in (1, 2, 5, 10):
        step = factor * power
        # 10 is always enough; the 0.999 lets a step that is right but for rounding pass.
        if step >= wanted * 0.999:
            break
    if whole:
        step = max(1.0, step)
    first = math.ceil(low / step)
    last = math.floor(high / step)
    # Multiples, not sums, so that rounding does not add up.
    return [i * step for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten; over two decades or less also 2 and 5 times each."""
    first = math.floor(math.log10(low))
    last = math.ceil(math.log10(high))
    factors = (1, 2, 5) if high / low < 150 else (1,)
    values = []
    for power in range(first, last + 1):
        values += [factor * 10.0**power for factor in factors]
    return [value for value in values if low <= value <= high]
