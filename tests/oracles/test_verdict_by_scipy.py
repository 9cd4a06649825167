"""The verdict's intervals are those of scipy."""

import numpy as np
import pytest
import scipy.stats

from limbeck.evaluation.bootstrap import interval, resample, resampled_metrics
from limbeck.tasks import Scored
from limbeck.tasks.image_classification import ImageClassification

IMAGE = ImageClassification(["a", "b", "c"], "{}")


def images(seed: int, accuracy: float, rows: int = 400) -> Scored:
    """Labels are alike for every seed; each row is right with probability `accuracy`."""
    generator = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    decided = np.where(generator.random(rows) < accuracy, labels, (labels + 1) % 3)
    return Scored(np.eye(3)[decided], labels, np.arange(rows + 1))


def test_the_interval_of_an_accuracy_is_scipy_s() -> None:
    scored = images(0, 0.8)
    values = resampled_metrics([scored], resample(400, 4000), IMAGE)["accuracy"]
    right = (scored.logits.argmax(1) == scored.labels).astype(float)
    expected = scipy.stats.bootstrap(
        (right,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert interval(values) == pytest.approx([expected.low, expected.high], abs=0.004)


def test_the_interval_of_a_difference_is_paired_as_scipy_s_is() -> None:
    """Two arms that share most of their mistakes: paired, the interval is far narrower than the two apart would give."""
    teacher, student = images(0, 0.8), images(0, 0.77)
    weights = resample(400, 4000)
    resampled = [
        resampled_metrics([scored], weights, IMAGE)["accuracy"] for scored in (teacher, student)
    ]
    low, high = interval(resampled[0] - resampled[1])
    right = [
        (scored.logits.argmax(1) == scored.labels).astype(float) for scored in (teacher, student)
    ]
    expected = scipy.stats.bootstrap(
        right,
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        paired=True,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert [low, high] == pytest.approx([expected.low, expected.high], abs=0.004)
    apart = np.sqrt(sum(np.var(values) for values in resampled)) * 2 * 1.96
    assert high - low < 0.5 * apart
