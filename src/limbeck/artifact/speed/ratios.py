"""How many times as long one subject takes as another, with an interval, and whether it is noise.

The ratio is the median over rounds of the ratio of two medians of one round, so that a slow minute,
which hits both, leaves it. Its interval has the ranks of the sign test: of n ratios in order the
k-th to the k-th last, with the largest k for which P(Binomial(n, 1/2) < k) is at most 2.5 %. That
holds whatever the distribution of the noise (Conover, Practical nonparametric statistics, 3.2).

Rounds cannot see what differs between two processes and stays: where the memory of each came to
lie. The interval is therefore wider by PROCESSES on each side.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from limbeck.artifact.speed.rounds import Timed

# Two processes of one artifact differ by so much (`benchmarks/speed_noise.py`).
PROCESSES = 1.02
# More is not said by chance in one measurement of forty, on either side.
TAIL = 0.025
# What takes less than this many times as long is not worth a sentence.
SLOWER = 1.05
# One thread that waits for nothing has as much wall time as CPU time. A machine on which the first
# is so many times the second gave its cores to others.
WAITING = 1.1
# The middle half of the rounds should agree within this much.
DISAGREEING = 1.15


@dataclass(frozen=True)
class Ratio:
    """A ratio and its 95 % interval."""

    ratio: float
    low: float
    high: float

    @property
    def inverse(self) -> "Ratio":
        """The other way round."""
        return Ratio(1 / self.ratio, 1 / self.high, 1 / self.low)

    @property
    def is_slower(self) -> bool:
        """Whether it takes longer, by more than is worth a sentence and more than noise."""
        return self.ratio > SLOWER and self.low > 1

    def scaled(self, factor: float) -> "Ratio":
        """Moved by a factor; the interval stays, and grows where it must to hold the ratio."""
        ratio = self.ratio * factor
        return Ratio(ratio, min(self.low, ratio), max(self.high, ratio))

    def told(self) -> dict[str, Any]:
        """As report.json has it, to a thousandth."""
        interval = [round(self.low, 3), round(self.high, 3)]
        return {"ratio": round(self.ratio, 3), "ratio_ci95": interval}


def ratio(first: Timed, second: Timed) -> Ratio:
    """How many times as long `first` takes as `second`, which answered in the same rounds."""
    if first is second:
        return Ratio(1.0, 1.0, 1.0)
    ratios = np.sort(first.wall_ms / second.wall_ms)
    leave_out = rank(len(ratios)) - 1
    low = float(ratios[leave_out]) / PROCESSES
    high = float(ratios[-1 - leave_out]) * PROCESSES
    return Ratio(float(np.median(ratios)), low, high)


def rank(num_rounds: int) -> int:
    """The k of the module's first lines; 1, the whole range, for fewer rounds than six."""
    at_most = 0
    below = 0.0
    for successes in range(num_rounds):
        below += math.comb(num_rounds, successes) / 2**num_rounds
        if below > TAIL:
            break
        at_most = successes + 1
    return max(at_most, 1)


def signs_of_noise(measured: Mapping[str, Timed], threads: int) -> list[str]:
    """What says that the machine was busy while it measured, in words; nothing where it was not.

    measured: by the name of each subject. threads: with which they answered.
    """
    signs = []
    for name, times in measured.items():
        # The CPU time of several threads is the sum over them, which says nothing of waiting.
        if threads == 1 and times.waiting > WAITING:
            signs.append(f"`{name}` took {times.waiting:.2f} times as much wall time as CPU time")
    names = list(measured)
    for first, second in itertools.pairwise(names):
        ratios = measured[first].wall_ms / measured[second].wall_ms
        lower, upper = np.percentile(ratios, [25, 75])
        if upper > DISAGREEING * lower:
            signs.append(
                f"rounds disagree: `{first}` takes {lower:.2f} to {upper:.2f} times as long as "
                f"`{second}`"
            )
    return signs
