"""Intervals and a test by resampling test rows (Efron and Tibshirani, 1993, An Introduction to the
Bootstrap, chapters 13 and 16).

A metric is a function of how often each row counts, so one resample of the rows serves every arm
and differences between arms are paired (Berg-Kirkpatrick et al., 2012, EMNLP). Rows are sentences
for tagging, never words. Seeds are averaged within a resample.

Shapes: R resamples, N rows.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from limbeck.tasks import Scored, Task, figures

# The level of every test here, and what an interval leaves out.
ALPHA = 0.05


def resample(num_rows: int, num_resamples: int) -> np.ndarray:
    """(R, N) how often each row is drawn; N rows in every resample, by a fixed seed."""
    (weights,) = resample_in_parts(num_rows, num_resamples, num_resamples)
    return weights


def resample_in_parts(num_rows: int, num_resamples: int, at_once: int) -> Iterator[np.ndarray]:
    """What `resample` gives, `at_once` resamples at a time: a million rows take 8 MB in each."""
    # Fixed, so that two verdicts on the same scores are the same.
    generator = np.random.default_rng(0)
    equal_chances = np.full(num_rows, 1 / num_rows)
    for start in range(0, num_resamples, at_once):
        size = min(at_once, num_resamples - start)
        counts = generator.multinomial(num_rows, equal_chances, size)
        yield counts.astype(np.float64)


def resampled_metrics(
    seeds: Sequence[Scored],
    weights: np.ndarray,
    task: Task,
) -> dict[str, np.ndarray]:
    """(R) values of every metric, averaged over the seeds' answers, NaN where one is undefined;
    `weights` (R, N)."""
    by_seed = [figures(task, scored, weights) for scored in seeds]
    # The same rows are drawn for every seed, because what a seed changes is not the test set.
    means = {}
    for name in by_seed[0]:
        means[name] = np.mean([metrics[name] for metrics in by_seed], 0)
    return means


def interval(values: np.ndarray) -> list[float]:
    """The central 95 % of resampled values (R): its two ends, by percentiles."""
    # The same share is left out on either side.
    ends = np.quantile(values, [ALPHA / 2, 1 - ALPHA / 2])
    return [float(end) for end in ends]


def told_interval(values: np.ndarray) -> list[float] | None:
    """The `interval` of the values that are defined; None where none is."""
    known = values[~np.isnan(values)]
    return interval(known) if len(known) else None


def p_of_larger_drop(drops: np.ndarray, max_drop: float) -> float:
    """The p value of "the drop is larger than `max_drop`", from resampled drops (R).

    One is added to both counts, so that it is never 0: the data themselves are one more resample
    (Davison and Hinkley, 1997, chapter 4).
    """
    num_larger = (drops > max_drop).sum()
    return float((1 + num_larger) / (1 + len(drops)))


def is_shown_better(values: np.ndarray, other: np.ndarray) -> bool:
    """Whether resampled values (R) beat `other` (R) in all resamples but 5 % of them."""
    return bool((values <= other).mean() <= ALPHA)
