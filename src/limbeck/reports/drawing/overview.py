"""The pictures that answer a manager: what quality costs in bytes and in milliseconds, and which
step the speed comes from.

Quality against cost is drawn once for each cost, with the front: the arms that no other one beats
in both. Speed is a product, so that its steps are added up on a logarithmic axis.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from limbeck.reports.arms import (
    PLOT_LEFT,
    PLOT_RIGHT,
    arm_rows,
    bounds_of,
    color_of,
    metric_title,
    plot,
)
from limbeck.reports.drawing.axis import Axis
from limbeck.reports.drawing.charts import BOTTOM, LEFT, RIGHT, TOP
from limbeck.reports.numbers import TIMES, decimal, short
from limbeck.reports.speed import FACTORS

Json = dict[str, Any]

# The steps of speed in a reader's words.
STEPS = {
    "runtime": "runtime: the teacher out of PyTorch",
    "architecture": "architecture: the small network",
    "integers": "integers: the same network, float and quantized",
}
# Pixels of the bars; the template's drawing is 280 wide.
BAR_LEFT, BAR_RIGHT = 6, 274


class Priced(NamedTuple):
    """An arm with its quality, the interval of it (nothing where it has none), and a cost."""

    arm: str
    quality: float
    bounds: Sequence[float]
    cost: float


def paretos(report: Json) -> list[Json]:
    """Quality against bytes, and against milliseconds; a cost that is not known of two arms has no
    picture."""
    metric = report["metric"]["name"]
    rows = arm_rows(report)
    largest = max((row["bytes"] or 0 for row in rows), default=0)
    unit, size = ("MB", 1e6) if largest >= 1e6 else ("kB", 1e3)
    drawn = []
    for key, title, scale in (
        ("bytes", f"size on disk, {unit}", size),
        ("ms", "milliseconds an answer", 1.0),
    ):
        priced = []
        for row in rows:
            bounds = bounds_of(report["arms"][row["name"]], metric) or []
            if row["mean"] is not None and row[key]:
                priced.append(Priced(row["name"], row["mean"], bounds, row[key] / scale))
        if len(priced) > 1:
            best = front(priced, report["metric"]["higher_is_better"])
            drawn.append(pareto(f"{metric_title(metric)} and {title}", title, priced, best))
    return drawn


def pareto(title: str, x_title: str, priced: Sequence[Priced], best: Sequence[Priced]) -> Json:
    """One picture: a point with its interval for each arm, and the front through the best."""
    qualities = [value for each in priced for value in (each.quality, *each.bounds)]
    x_axis = Axis.over([each.cost for each in priced], LEFT, RIGHT, log=True)
    y_axis = Axis.over(qualities, BOTTOM, TOP)
    points = []
    for each in priced:
        # Behind the name in the legend: what a point is, in figures.
        text = f"{decimal(each.quality)} at {short(each.cost)}"
        point = {
            "arm": each.arm,
            "color": color_of(each.arm),
            "x": x_axis.at(each.cost),
            "y": y_axis.at(each.quality),
            "interval": [y_axis.at(bound) for bound in each.bounds],
            "text": text,
        }
        points.append(point)
    steps = [(x_axis.at(each.cost), y_axis.at(each.quality)) for each in best]
    # Along the front no other arm is cheaper and better: it falls and runs in steps.
    path = f"M{steps[0][0]:g} {steps[0][1]:g}"
    path += "".join(f"H{x:g}V{y:g}" for _, (x, y) in pairwise(steps))
    return {
        "title": title,
        "x_title": x_title,
        "x_ticks": x_axis.ticks(),
        "y_ticks": y_axis.ticks(),
        "points": points,
        "front": path,
    }


def front(priced: Sequence[Priced], is_more_better: bool) -> list[Priced]:
    """The arms that no other one equals or beats in both, from the cheapest on; `is_more_better`:
    whether the metric rises with quality."""
    sign = 1 if is_more_better else -1
    kept: list[Priced] = []
    # Of two that cost the same the better one comes first, and the other adds nothing.
    for each in sorted(priced, key=lambda each: (each.cost, -sign * each.quality)):
        if not kept or sign * each.quality > sign * kept[-1].quality:
            kept.append(each)
    return kept


def waterfall(speed: Mapping[str, Any] | None) -> list[Json]:
    """The steps of the product of speeds, each from where the one before it ended; nothing where a
    step is not known.

    Every row has its name, the pixels of its bar and of its interval, and its ratio in words.
    """
    product = (speed or {}).get("product")
    if not product or any(product[name]["ratio"] is None for name in (*FACTORS, "total")):
        return []
    # 1. Where each step starts, and the last row from the beginning.
    rows = []
    reached = 1.0
    for name in FACTORS:
        rows.append((STEPS[name], reached, product[name]))
        reached *= product[name]["ratio"]
    rows.append(("the artifact over the teacher", 1.0, product["total"]))
    # 2. One axis for all.
    values = [1.0]
    for _, start, told in rows:
        values += [start * value for value in (told["ratio"], *told["ratio_ci95"])]
    axis = Axis.over(values, BAR_LEFT, BAR_RIGHT, log=True)
    drawn = []
    for name, start, told in rows:
        ratio, bounds = told["ratio"], told["ratio_ci95"]
        # A step that slows down runs to the left.
        first, last = sorted((axis.at(start), axis.at(start * ratio)))
        low, high = (axis.at(start * bound) for bound in bounds)
        row = {
            "name": name,
            "left": first,
            # A step that changes nothing is still seen.
            "width": max(1.0, round(last - first, 1)),
            "low": low,
            "high": high,
            "one": axis.at(1.0),
            "is_slower": ratio < 1,
            "ratio": f"{short(ratio)}{TIMES}",
            "interval": " to ".join(map(short, bounds)),
        }
        drawn.append(row)
    return drawn


def gain_plots(gains: Sequence[Mapping[str, Any]]) -> list[Json]:
    """The interval of each gain on one axis that holds 0, in pixels of a little plot."""
    if not gains:
        return []
    values = [0.0]
    for row in gains:
        values += [row["gain"], *row["ci95"]]
    axis = Axis.over(values, PLOT_LEFT, PLOT_RIGHT)
    return [plot(axis, row["gain"], row["ci95"], limit=0.0) for row in gains]
