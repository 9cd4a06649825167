"""The curves of training as SVG paths: losses, measures beside them, the validation metric.

A curve is the mean over seeds, with a band from the lowest seed to the highest. A long one is
averaged in buckets of steps.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from statistics import fmean
from typing import Any, NamedTuple

from limbeck.reports.arms import color_of, metric_title
from limbeck.reports.drawing.axis import Axis
from limbeck.reports.numbers import short

Json = dict[str, Any]

# The frame of a chart in pixels, which the template draws too: left and right, bottom and top.
LEFT, RIGHT = 44, 348
BOTTOM, TOP = 176, 10

MAX_POINTS = 120  # of one curve, on 304 pixels; more steps are averaged in buckets
LOG_SPAN = 30  # a positive loss that spans more than this factor is drawn on a log axis
MOST_DOTS = 12  # points that are drawn as dots, too: more would cover the line

# Measures that are drawn, and the titles of their charts.
MEASURES = {"agreement": "agreement with the teacher", "student_entropy": "student's entropy, nats"}
# A loss term's part of the length of the gradient is measured as `pull.TERM`.
PULL = "pull."


class Sample(NamedTuple):
    """One number of one training."""

    arm: str
    seed: int
    x: float
    y: float


Samples = dict[str, list[Sample]]  # by the title of their chart


class Point(NamedTuple):
    """One place of a curve: the mean over seeds, and the lowest and the highest seed."""

    x: float
    mean: float
    low: float
    high: float


def charts(report: Json, curves: Sequence[Json]) -> list[Json]:
    """What the template draws, for every chart that has data.

    One chart for the total loss, one for each term, one for each measure beside them, one for the
    validation metric. `curves`: the lines of metrics.jsonl, each with `arm`, `seed` and `step` or
    `epoch`.
    """
    metric = report["metric"]["name"]
    arms = list(report["arms"])
    by_title = loss_samples(curves) | measure_samples(curves)
    drawn = []
    for title, samples in by_title.items():
        drawn.append(chart(title, "step", samples, arms))
    validation = validation_samples(curves, metric)
    title = f"{metric_title(metric)} on validation"
    kept = kept_samples(curves, validation)
    x_title = "epoch (a ring: whose weights were kept)" if kept else "epoch"
    drawn.append(chart(title, x_title, validation, arms, marked=kept))
    return [each for each in drawn if each]


def loss_samples(curves: Iterable[Json]) -> Samples:
    """Title -> samples, the total first."""
    samples: Samples = {"total loss": []}
    for row in curves:
        for term, value in row.get("losses", {}).items():
            _add(samples, f"{term} loss", row, value)
    return samples


def measure_samples(curves: Iterable[Json]) -> Samples:
    """Title -> samples of those measures that are drawn."""
    # The titles come first, so that the charts stand in this order whatever was measured first.
    samples: Samples = {title: [] for title in MEASURES.values()}
    for row in curves:
        for name, value in row.get("measures", {}).items():
            title = _measure_title(name)
            if title:
                _add(samples, title, row, value)
    return samples


def _add(samples: Samples, title: str, row: Json, value: float | None) -> None:
    """Put the value of a step under a title. A number that was not finite is null in JSON."""
    if value is not None:
        step = row.get("step", 0)
        sample = Sample(row["arm"], row["seed"], step, value)
        samples.setdefault(title, []).append(sample)


def _measure_title(name: str) -> str | None:
    """None for a measure that is kept in metrics.jsonl alone."""
    if name.startswith(PULL):
        return f"{name.removeprefix(PULL)}: share of the gradient"
    return MEASURES.get(name)


def validation_samples(curves: Iterable[Json], metric: str) -> list[Sample]:
    """The metric after each epoch; the first epoch is at 1."""
    samples = []
    for row in curves:
        value = row.get("validation", {}).get(metric)
        if value is not None:
            epochs_done = row["epoch"] + 1
            samples.append(Sample(row["arm"], row["seed"], epochs_done, value))
    return samples


def kept_samples(curves: Iterable[Json], validation: Sequence[Sample]) -> list[Sample]:
    """Of the metric after each epoch those of the epochs whose weights were kept."""
    kept = set()
    for row in curves:
        if "kept" in row:
            kept.add((row["arm"], row["seed"], row["kept"]["epoch"] + 1))
    return [sample for sample in validation if (sample.arm, sample.seed, sample.x) in kept]


def chart(
    title: str,
    x_title: str,
    samples: Sequence[Sample],
    arms: Sequence[str],
    *,
    marked: Sequence[Sample] = (),
) -> Json | None:
    """One chart's axes and lines in pixels, or None when there is nothing finite to draw.

    arms: in the order of the legend; any other arm of the samples comes after them.
    marked: samples that get a ring, one for each seed.
    """
    finite = [sample for sample in samples if math.isfinite(sample.y)]
    if not finite:
        return None
    # 1. One line for each arm.
    samples_of: dict[str, list[Sample]] = {arm: [] for arm in arms}
    for sample in finite:
        samples_of.setdefault(sample.arm, []).append(sample)
    lines = {arm: over_seeds(samples) for arm, samples in samples_of.items() if samples}

    # 2. Axes that hold all lines and bands.
    points = list(chain.from_iterable(lines.values()))
    low = min(point.low for point in points)
    high = max(point.high for point in points)
    is_log = low > 0 and high / low > LOG_SPAN
    steps = [point.x for point in points]
    x_axis = Axis.over(steps, LEFT, RIGHT, whole=True)
    y_axis = Axis.over([low, high], BOTTOM, TOP, log=is_log)
    rings = [
        {"color": color_of(each.arm), "x": x_axis.at(each.x), "y": y_axis.at(each.y)}
        for each in marked
        if math.isfinite(each.y)
    ]
    return {
        "title": title,
        "x_title": x_title,
        "log": is_log,
        "x_ticks": x_axis.ticks(),
        "y_ticks": y_axis.ticks(),
        "lines": [_line(arm, line, x_axis, y_axis) for arm, line in lines.items()],
        "rings": rings,
    }


def over_seeds(samples: Sequence[Sample]) -> list[Point]:
    """The curve of one arm, of at most MAX_POINTS points.

    Steps are put into buckets of equal numbers of steps. A point stands at the last step of its
    bucket; each seed counts once in it, by its mean.
    """
    steps = sorted({sample.x for sample in samples})
    width = max(1, math.ceil(len(steps) / MAX_POINTS))
    bucket_of = {step: i // width for i, step in enumerate(steps)}
    buckets: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        by_seed = buckets[bucket_of[sample.x]]
        by_seed[sample.seed].append(sample.y)
    points = []
    for bucket, by_seed in sorted(buckets.items()):
        # Sorted by seed: the last bit of a mean depends on the order.
        means = [fmean(values) for _, values in sorted(by_seed.items())]
        # The last bucket may be shorter.
        end = min((bucket + 1) * width, len(steps))
        last_step = steps[end - 1]
        point = Point(last_step, fmean(means), min(means), max(means))
        points.append(point)
    return points


def _line(arm: str, points: Sequence[Point], x_axis: Axis, y_axis: Axis) -> Json:
    """SVG paths of a curve and of its band over seeds; dots where the points are few."""
    mean = []
    upper = []
    lower = []
    for point in points:
        x = x_axis.at(point.x)
        mean.append((x, y_axis.at(point.mean)))
        upper.append((x, y_axis.at(point.high)))
        lower.append((x, y_axis.at(point.low)))
    # Along the upper edge and back along the lower one; Z closes the path.
    band = path(upper + lower[::-1]) + "Z"
    return {
        "arm": arm,
        "color": color_of(arm),
        "path": path(mean),
        # One seed has no band, nor have several that differ by less than is drawn.
        "band": band if upper != lower else None,
        "dots": mean if len(mean) <= MOST_DOTS else [],
        "last": short(points[-1].mean),
    }


def path(points: Sequence[tuple[float, float]]) -> str:
    """Straight lines from point to point."""
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
