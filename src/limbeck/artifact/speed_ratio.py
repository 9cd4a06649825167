"""How many times as long an artifact takes as the same student in int8 or in float32.

They answered in turns, a block of rows each (`artifact.latency`). The ratio is the median over
blocks of the ratio of the two medians of a block, so that a slow minute, which hits both, leaves
it. Its interval runs from one block's rank to another's, as that of the sign test does: with n
blocks the ranks n/2 -+ 0.98 sqrt(n), the normal approximation of the central 95 % of Binomial(n,
1/2).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from limbeck.artifact.latency import BLOCK

# An artifact is called slower where it takes this many times as long: less is not worth a sentence.
SLOWER = 1.05
# And only where the lower end of the interval exceeds this, so that noise is not called slower.
SURE = 1.0

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
            "slower": ratio > SLOWER and interval[0] > SURE,
        }
        rows.append(row)
    return {"runtime": runtime, "p50": _median(milliseconds), "twins": rows}


def paired_ratio(milliseconds: np.ndarray, reference: np.ndarray) -> tuple[float, list[float]]:
    """How many times as long as `reference` the first takes, and the 95 % interval [low, high].

    Both are milliseconds of the same rows (rows,), measured in turns of BLOCK rows.
    """
    ratios = []
    for start in range(0, len(milliseconds), BLOCK):
        block = slice(start, start + BLOCK)
        ratios.append(np.median(milliseconds[block]) / np.median(reference[block]))
    ratios.sort()
    rank = math.floor(len(ratios) / 2 - 0.98 * math.sqrt(len(ratios)))
    rank = max(0, rank)  # a few blocks have no such rank: the interval is their range
    low, high = ratios[rank], ratios[-1 - rank]
    return round(float(np.median(ratios)), 3), [round(float(low), 3), round(float(high), 3)]


def _median(milliseconds: np.ndarray) -> float:
    """To a microsecond."""
    return round(float(np.median(milliseconds)), 3)
