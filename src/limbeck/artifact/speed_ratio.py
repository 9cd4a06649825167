"""How many times as long an artifact takes as the same student in int8 or in float32.

They answered in turns, a block of rows each (`artifact.latency`). The ratio is the median over
blocks of the ratio of the two medians of a block, so that a slow minute, which hits both, leaves
it. Its interval runs from one block's rank to another's, as that of the sign test does: with n
blocks the ranks n/2 -+ 0.98 sqrt(n), the normal approximation of the central 95 % of Binomial(n,
1/2).

The range of fewer than six blocks holds the true median less often than in 95 %: 1 - 2 / 2^n of the
times, which is .94 for five. Then there is no interval, and nothing is called slower.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from limbeck.artifact.latency import BLOCK

# An artifact is called slower where it takes this many times as long: less is not worth a sentence.
SLOWER = 1.05
# And only where the lower end of the interval exceeds this, so that noise is not called slower.
SURE = 1.0

# The fewest blocks whose range is an interval of 95 %.
FEWEST_BLOCKS = 6

Timed = tuple[str, np.ndarray]  # runtime, milliseconds of each row


def compare(artifact: Timed, references: Mapping[str, Timed]) -> dict[str, Any]:
    """The artifact's median beside that of each reference, as `speed` of report.json.

    references: by the form of their numbers, `int8` or `float`.
    """
    runtime, milliseconds = artifact
    rows = []
    for form, (reference_runtime, reference_milliseconds) in references.items():
        ratio, interval = paired_ratio(milliseconds, reference_milliseconds)
        row = {
            "form": form,
            "runtime": reference_runtime,
            "p50": _median(reference_milliseconds),
            "ratio": ratio,
            "ratio_ci95": interval,
            "slower": interval is not None and ratio > SLOWER and interval[0] > SURE,
        }
        rows.append(row)
    return {
        "runtime": runtime,
        "p50": _median(milliseconds),
        "rows": len(milliseconds),
        "twins": rows,
    }


def paired_ratio(
    milliseconds: np.ndarray, reference: np.ndarray
) -> tuple[float, list[float] | None]:
    """How many times as long as `reference` the first takes, and the 95 % interval [low, high];
    None where too few rows were timed for one.

    Both are milliseconds of the same rows (rows,), measured in turns of BLOCK rows.
    """
    ratios = []
    for start in range(0, len(milliseconds), BLOCK):
        block = slice(start, start + BLOCK)
        ratio = np.median(milliseconds[block]) / np.median(reference[block])
        ratios.append(float(ratio))
    ratios.sort()
    num_blocks = len(ratios)
    if num_blocks < FEWEST_BLOCKS:
        return _median(ratios), None
    # 0.98 is half of 1.96, the two-sided 95 % point of the normal distribution.
    rank = math.floor(num_blocks / 2 - 0.98 * math.sqrt(num_blocks))
    interval = [round(ratios[rank], 3), round(ratios[-1 - rank], 3)]
    return _median(ratios), interval


def _median(values: Sequence[float] | np.ndarray) -> float:
    """To a thousandth: of milliseconds, a microsecond."""
    return round(float(np.median(values)), 3)
