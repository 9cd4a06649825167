"""The interval of a figure by resampling test rows (Efron and Tibshirani, 1993, An Introduction to
the Bootstrap, chapter 13): its percentiles.

For figures that are no metric of a task, such as a calibration error. Metrics have intervals that
hold from a few rows on (`score_interval.py`). Shapes: R resamples, N rows.
"""

import numpy as np

# The level of every test here, and what an interval leaves out.
ALPHA = 0.05


def resample(num_rows: int, num_resamples: int) -> np.ndarray:
    """(R, N) how often each row is drawn; N rows in every resample, by a fixed seed."""
    # Fixed, so that two verdicts on the same scores are the same.
    generator = np.random.default_rng(0)
    equal_chances = np.full(num_rows, 1 / num_rows)
    counts = generator.multinomial(num_rows, equal_chances, num_resamples)
    return counts.astype(np.float64)


def told_interval(values: np.ndarray) -> list[float] | None:
    """The central 95 % of those resampled values (R) that are defined; None where none is."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    # The same share is left out on either side.
    ends = np.quantile(known, [ALPHA / 2, 1 - ALPHA / 2])
    return [float(end) for end in ends]
