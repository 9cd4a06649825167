"""Whether the artifact is slower than the same student in int8 or in float32, as report.json's `speed` and in words. Torch-free.

They took turns by blocks of rows: the ratio is the median over blocks of the ratio of their medians, so that a slow minute hits both, and its
interval, from one block's rank to another's, is that of the sign test. Slower is what takes SLOWER times as long and surely longer.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from limbeck.artifact.latency import BLOCK

SLOWER = 1.05  # times as long, beyond which it is said
SURE = 1.0  # which the interval's lower end must exceed
TITLES = {"int8": "int8 weights", "float": "float32"}
CURES = {
    "int8": "On this machine it saves bytes, not time: for speed take quantize.weights=int8, without `group` and `activations: float`",
    "float": "On this machine it saves bytes, not time: leave `quantize` out, or keep the slow layers float (`limbeck inspect` says which)",
}

Timed = tuple[str, np.ndarray]  # runtime, milliseconds by row


def compare(own: Timed, others: Mapping[str, Timed]) -> dict[str, Any]:
    """The artifact's p50 beside that of each twin, by form."""
    twins = []
    for form, (runtime, milliseconds) in others.items():
        ratio, interval = paired(own[1], milliseconds)
        slower = ratio > SLOWER and interval[0] > SURE
        row = {
            "form": form,
            "runtime": runtime,
            "p50": p50(milliseconds),
            "ratio": ratio,
            "ratio_ci95": interval,
            "slower": slower,
        }
        twins.append(row)
    return {"runtime": own[0], "p50": p50(own[1]), "twins": twins}


def p50(milliseconds: np.ndarray) -> float:
    """The median, to a microsecond."""
    return round(float(np.median(milliseconds)), 3)


def paired(own: np.ndarray, other: np.ndarray) -> tuple[float, list[float]]:
    """How many times as long `own` takes as `other`, and the central 95 % of it."""
    starts = range(0, len(own), BLOCK)
    ratios = np.sort(
        [
            np.median(own[start : start + BLOCK]) / np.median(other[start : start + BLOCK])
            for start in starts
        ]
    )
    rank = max(0, math.floor(len(ratios) / 2 - 0.98 * math.sqrt(len(ratios))))
    return round(float(np.median(ratios)), 3), [
        round(float(ratios[rank]), 3),
        round(float(ratios[-1 - rank]), 3),
    ]


def sentences(speed: Mapping[str, Any] | None) -> list[str]:
    """One for each twin, the flagged ones in capitals and with their cure."""
    return [sentence(speed, twin) for twin in speed["twins"]] if speed else []


def sentence(speed: Mapping[str, Any], twin: Mapping[str, Any]) -> str:
    """How the artifact compares with one twin."""
    low, high = twin["ratio_ci95"]
    ratio = f"{twin['ratio']:.2f} [{low:.2f}, {high:.2f}] times as long as the same student in {TITLES[twin['form']]} ({twin['p50']:.3f} ms)"
    told = f"{', '.join(speed['formats'])} takes {speed['p50']:.3f} ms, {ratio}"
    return (
        f"SLOWER than {TITLES[twin['form']]}: {told}. {CURES[twin['form']]}"
        if twin["slower"]
        else f"speed: {told}"
    )
