"""Intervals by resampling test rows (Efron and Tibshirani, 1993, chapter 6): one resample of the rows serves every arm, so differences are paired."""

from collections.abc import Sequence

import numpy as np

from limbeck.tasks import Scored, Task, figures

ALPHA = 0.05


def resample(num_rows: int, resamples: int) -> np.ndarray:
    """(R, N) how often each row is drawn, by a fixed seed."""
    generator = np.random.default_rng(0)
    return generator.multinomial(num_rows, np.full(num_rows, 1 / num_rows), resamples).astype(
        np.float64
    )


def bootstrap(seeds: Sequence[Scored], weights: np.ndarray, task: Task) -> dict[str, np.ndarray]:
    """(R) resampled values of every metric, averaged over the seeds; `weights` (R, N)."""
    per_seed = [figures(task, scored, weights) for scored in seeds]
    return {name: np.mean([metrics[name] for metrics in per_seed], 0) for name in per_seed[0]}


def interval(values: np.ndarray) -> list[float]:
    """The central 95 %."""
    return [float(value) for value in np.quantile(values, [ALPHA / 2, 1 - ALPHA / 2])]
