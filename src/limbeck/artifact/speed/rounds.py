"""The turns: in each round every subject answers the same few rows, and then the next few.

A slow minute, and long rows, hit all subjects of a round alike; `ratios` takes the rounds as its
units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from limbeck.artifact.speed.workers import Answerer

# Enough for an interval of resampled rounds (`ratios.ratio`).
ROUNDS = 12
# Rows of a turn at least: its median is to leave out a row during which another process ran.
FEWEST_ROWS = 5
# A turn at least: several slices of the scheduler, which are 3 to 4 ms.
LEAST_MS = 20.0


@dataclass(frozen=True)
class Timed:
    """What one subject took.

    wall_ms: (rounds) median of a round. mean_ms, cpu_ms: (rounds) of one answer on average, on the
        clock and of CPU time. answers_ms: (answers) of every answer. threads: that answered.
    """

    wall_ms: np.ndarray
    mean_ms: np.ndarray
    cpu_ms: np.ndarray
    answers_ms: np.ndarray
    threads: int = 1

    @property
    def compared_ms(self) -> np.ndarray:
        """(rounds) what ratios are of: the CPU time of an answer of one thread.

        The scheduler cuts into an answer of 2 ms and spares one of 0.15 ms, so that on a busy
        machine the clock makes the slow one slower yet. Of several threads CPU time is a sum, which
        says nothing of how long a user waits: there it is the clock's.
        """
        return self.cpu_ms if self.threads == 1 else self.wall_ms

    @property
    def ms(self) -> float:
        """The median over rounds of what ratios are of, in milliseconds."""
        return float(np.median(self.compared_ms))

    @property
    def waiting(self) -> float:
        """How many times as much wall time as CPU time; the median over rounds."""
        return float(np.median(self.mean_ms / self.cpu_ms))

    @property
    def p50(self) -> float:
        """The median over rounds, in milliseconds."""
        return float(np.median(self.wall_ms))

    @property
    def p99(self) -> float:
        """What 99 of 100 answers do not exceed, in milliseconds."""
        # Of all answers: a round has too few for it.
        return float(np.percentile(self.answers_ms, 99))

    @property
    def cpu(self) -> float:
        """The median over rounds of the CPU time of an answer, in milliseconds."""
        return float(np.median(self.cpu_ms))


def blocks(num_rows: int) -> list[tuple[int, int]]:
    """The rows of each round, from and to; few rows come in several rounds."""
    size = min(num_rows, max(FEWEST_ROWS, num_rows // ROUNDS))
    num_blocks = num_rows // size
    # The last rows are left out where they would make a shorter block.
    starts = [size * (number % num_blocks) for number in range(ROUNDS)]
    return [(start, start + size) for start in starts]


def measure(
    answerers: Mapping[str, Answerer], num_rows: int, *, threads: int, first: int = 0
) -> dict[str, Timed]:
    """The times of every subject by its name; the order is turned about in every second round, so
    that none always answers after the same other.

    num_rows: how many rows each answers. threads: with which all do. first: the number of the first
        row.
    """
    walls: dict[str, list[list[float]]] = {name: [] for name in answerers}
    cpus: dict[str, list[float]] = {name: [] for name in answerers}
    # What answers right after PyTorch takes up to a tenth longer.
    order = list(answerers)
    for start, stop in blocks(num_rows):
        for name in order:
            turn = answerers[name].turn(first + start, first + stop, LEAST_MS)
            walls[name].append(turn.wall_ms)
            cpus[name].append(turn.cpu_ms)
        order.reverse()
    return {name: timed(walls[name], cpus[name], threads) for name in answerers}


def timed(walls: Sequence[Sequence[float]], cpus: Sequence[float], threads: int) -> Timed:
    """The times of one subject from those of its turns."""
    return Timed(
        wall_ms=np.array([np.median(of_turn) for of_turn in walls]),
        mean_ms=np.array([np.mean(of_turn) for of_turn in walls]),
        cpu_ms=np.array(cpus),
        answers_ms=np.concatenate([np.array(of_turn) for of_turn in walls]),
        threads=threads,
    )


def summary(measured: Timed, runtime: str) -> dict[str, Any]:
    """An arm's `latency_ms` in report.json, to a microsecond."""
    return {
        "ms": round(measured.ms, 3),
        "p50": round(measured.p50, 3),
        "p99": round(measured.p99, 3),
        "cpu": round(measured.cpu, 3),
        "threads": measured.threads,
        "runtime": runtime,
    }
