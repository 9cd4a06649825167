"""How many times as long one subject takes as another, with an interval, and whether it is noise.

The ratio is that of the two medians over rounds (`Timed.compared_ms`): the milliseconds of a table
divided by each other, so that ratios multiply along a chain. Its interval is that of rounds drawn
again, with replacement (percentile bootstrap; Efron and Tibshirani, 1993, chapter 13). Both
subjects are drawn together, so that a slow minute, which hits both, leaves it.

Rounds cannot see what differs between two processes and stays: where the memory of each came to
lie. The interval is therefore wider by PROCESSES on each side.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from limbeck.artifact.speed.rounds import Timed

# Two processes of one artifact differ by so much (`benchmarks/speed_noise.py`).
PROCESSES = 1.02
# The ends of the interval, and how often rounds are drawn: the seed gives equal times equal ends.
PERCENTILES = [2.5, 97.5]
DRAWS = 2000
SEED = 0
# What takes less than this many times as long is not worth a sentence.
SLOWER = 1.05
# One thread that waits for nothing has as much wall time as CPU time. A machine on which the first
# is so many times the second gave its cores to others: what the clock says is of them, too.
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

    def told(self) -> dict[str, Any]:
        """As report.json has it, to a thousandth."""
        interval = [round(self.low, 3), round(self.high, 3)]
        return {"ratio": round(self.ratio, 3), "ratio_ci95": interval}


def ratio(first: Timed, second: Timed) -> Ratio:
    """How many times as long `first` takes as `second`, which answered in the same rounds."""
    if first is second:
        return Ratio(1.0, 1.0, 1.0)
    slower, faster = first.compared_ms, second.compared_ms
    num_rounds = len(slower)
    drawn = np.random.default_rng(SEED).integers(0, num_rounds, (DRAWS, num_rounds))
    ratios = np.median(slower[drawn], axis=1) / np.median(faster[drawn], axis=1)
    low, high = np.percentile(ratios, PERCENTILES).tolist()
    seen = first.ms / second.ms
    # Few rounds may all be drawn from one side.
    return Ratio(seen, min(low, seen) / PROCESSES, max(high, seen) * PROCESSES)


def signs_of_noise(measured: Mapping[str, Timed]) -> list[str]:
    """What says that the machine was busy while it measured, in words; nothing where it was not.

    measured: by the name of each subject.
    """
    signs = []
    for name, times in measured.items():
        # The CPU time of several threads is their sum: where even that is less, all of them wait.
        if times.waiting > WAITING:
            signs.append(f"`{name}` took {times.waiting:.2f} times as much wall time as CPU time")
    names = list(measured)
    for first, second in itertools.pairwise(names):
        ratios = measured[first].compared_ms / measured[second].compared_ms
        lower, upper = np.percentile(ratios, [25, 75])
        if upper > DISAGREEING * lower:
            signs.append(
                f"rounds disagree: `{first}` takes {lower:.2f} to {upper:.2f} times as long as "
                f"`{second}`"
            )
    return signs
