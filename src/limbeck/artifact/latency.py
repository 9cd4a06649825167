"""Milliseconds from raw input to decoded answer, one input at a time."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

# Rows that one answerer takes before the next has its turn: short against the minutes for which a
# machine is slow, and 200 rows make ten blocks, of which `speed_ratio` takes an interval.
BLOCK = 20


# From raw input to decoded answer.
Answer = Callable[[Any], Any]


def latencies(
    answerers: Mapping[str, Answer], rows: Sequence[Any], *, warmup: int = 10
) -> dict[str, np.ndarray]:
    """Milliseconds of every answer (rows,), in the order of the rows, for each answerer by name.

    The answerers take turns, a block of rows each, so that a slow minute hits all alike. Each first
    answers `warmup` rows that are not timed.
    """
    # A first answer allocates memory and fills caches: it takes several times as long.
    for answer in answerers.values():
        for row in rows[:warmup]:
            answer(row)
    measured: dict[str, list[float]] = {name: [] for name in answerers}
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        for name, answer in answerers.items():
            for row in block:
                began = time.perf_counter()
                answer(row)
                seconds = time.perf_counter() - began
                measured[name].append(1000 * seconds)
    return {name: np.array(values) for name, values in measured.items()}


def p50_and_p99(milliseconds: np.ndarray) -> tuple[float, float]:
    """The median, and what 99 of 100 answers do not exceed."""
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return float(p50), float(p99)


def summary(milliseconds: np.ndarray, *, threads: int, runtime: str) -> dict[str, Any]:
    """An arm's `latency_ms` in report.json, to a microsecond."""
    p50, p99 = p50_and_p99(milliseconds)
    return {
        "p50": round(p50, 3),
        "p99": round(p99, 3),
        "threads": threads,
        "runtime": runtime,
    }
