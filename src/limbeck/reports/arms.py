"""The table of arms: one row for each way of making a small model, beside the teacher."""

from collections.abc import Sequence
from typing import Any

from limbeck.reports.drawing.axis import Axis
from limbeck.reports.numbers import interval, ratio_in_words
from limbeck.reports.speed import milliseconds

Json = dict[str, Any]

# Every arm of a verdict, from the reference to what is judged, and what it is in a few words.
ARMS = {
    "teacher": "the large model",
    "baseline": "no network",
    "plain": "nothing of the teacher",
    "cut": "the teacher's layers, labels alone",
    "kd": "distilled",
    "ptq": "the teacher, quantized afterwards",
    "qat": "nothing of the teacher, quantized in training",
    "kd+ptq": "distilled, quantized afterwards",
    "joint": "distilled and quantized in one training",
    "quantized": "no distillation",  # of reports of schema 1
}

# The arm without a network.
BASELINE = "baseline"

# The number of each arm's colour, as the template defines them; what is judged is the darkest.
COLORS = {
    "teacher": 0,
    "baseline": 6,
    "plain": 1,
    "cut": 2,
    "kd": 3,
    "ptq": 7,
    "qat": 8,
    "kd+ptq": 4,
    "joint": 5,
    "quantized": 9,
}

# The pixels of the little plot of a metric's interval; the template's is 150 wide.
PLOT_LEFT, PLOT_RIGHT = 8, 142


def shipped_arm(arms: Json) -> str:
    """The arm that is judged and whose artifact is handed out, whatever the order of the arms."""
    # ARMS runs from the reference to what is judged.
    for name in reversed(ARMS):
        if name in arms:
            return name
    return list(arms)[-1]


def color_of(arm: str) -> int:
    """The number of an arm's colour in the style sheet: the same in every report."""
    # An arm of another version's report is plain ink.
    return COLORS.get(arm, COLORS["joint"])


def metric_title(name: str) -> str:
    """`F1`, `exact match`: an abbreviation in capitals, a longer name as words."""
    return name.upper() if len(name) <= 4 else name.replace("_", " ")


def arm_rows(report: Json) -> list[Json]:
    """One row of the table for each arm, with its ratios to the teacher."""
    metric = report["metric"]["name"]
    teacher = report["arms"].get("teacher") or {}
    plots = interval_plots(report)
    rows = []
    for name, arm in report["arms"].items():
        row = _arm_row(name, arm, teacher, metric)
        row["forest"] = plots.get(name)
        rows.append(row)
    return rows


def _arm_row(name: str, arm: Json, teacher: Json, metric: str) -> Json:
    """Everything of a row but its plot."""
    latency = arm.get("latency_ms") or {}
    teacher_latency = teacher.get("latency_ms") or {}
    bytes_ratio = _against(arm.get("bytes"), teacher.get("bytes"), "smaller", "larger")
    p50_ratio = _against(_ms(latency), _ms(teacher_latency), "faster", "slower")
    # Reports of schema 1 have medians alone.
    if latency.get("speedup"):
        faster = latency["speedup"]
        text = ratio_in_words(faster, "faster", "slower")
        p50_ratio = {"text": text, "worse": faster < 1}
    is_teacher = name == "teacher"  # and beside itself no ratio says anything
    return {
        "name": name,
        "what": arm.get("what") or ARMS.get(name, ""),
        "mean": arm["mean"].get(metric),
        "interval": interval(bounds_of(arm, metric)),
        "agreement": arm.get("agreement"),
        "parameters": arm.get("parameters"),
        "bytes": arm.get("bytes"),
        "bytes_ratio": None if is_teacher else bytes_ratio,
        "ms": _ms(latency),
        "p50": latency.get("p50"),
        "p99": latency.get("p99"),
        "ms_ratio": None if is_teacher else p50_ratio,
        "runtime": latency.get("runtime"),
        "threads": latency.get("threads"),
    }


def _ms(latency: Json) -> float | None:
    """What speed-ups are ratios of; in older reports the median."""
    return milliseconds(latency) if latency else None


def bounds_of(arm: Json, metric: str) -> list[float] | None:
    """The 95 % interval of an arm's metric, where the report has one."""
    return (arm.get("ci95") or {}).get(metric)


def _against(
    value: float | None,
    teacher: float | None,
    better: str,
    worse: str,
) -> Json | None:
    """The ratio to the teacher in words, and whether it is for the worse."""
    if not value or not teacher:
        return None
    text = ratio_in_words(teacher / value, better, worse)
    return {"text": text, "worse": teacher < value}


def interval_plots(report: Json) -> dict[str, Json]:
    """Arm -> pixel positions on one common axis (a forest plot), of arms whose metric is known.

    Each has the mean, the interval, the single seeds, and the least quality that is allowed.
    """
    metric = report["metric"]["name"]
    arms = {name: arm for name, arm in report["arms"].items() if _has(arm, metric)}
    if not arms:
        return {}
    limit = allowed_metric(report)
    # The limit belongs to the axis, so that a reader sees how far an arm is from it.
    values = [] if limit is None else [limit]
    for arm in arms.values():
        values.append(arm["mean"][metric])
        values += bounds_of(arm, metric) or []
        values += _seeds(arm, metric)
    axis = Axis.over(values, PLOT_LEFT, PLOT_RIGHT)
    return {name: _interval_plot(arm, metric, limit, axis) for name, arm in arms.items()}


def _interval_plot(arm: Json, metric: str, limit: float | None, axis: Axis) -> Json:
    """The positions of one arm."""
    bounds = bounds_of(arm, metric) or []
    seeds = _seeds(arm, metric)
    if len(seeds) == 1:
        seeds = []  # it lies under the mean
    return plot(axis, arm["mean"][metric], bounds, seeds=seeds, limit=limit)


def plot(
    axis: Axis,
    mean: float,
    bounds: Sequence[float],
    *,
    seeds: Sequence[float] = (),
    limit: float | None = None,
) -> Json:
    """A mean with its interval, single seeds and a limit, on an axis: what the template's little
    plots show."""
    return {
        "mean": axis.at(mean),
        "interval": [axis.at(bound) for bound in bounds],
        "seeds": [axis.at(value) for value in seeds],
        "limit": None if limit is None else axis.at(limit),
    }


def _has(arm: Json, metric: str) -> bool:
    """Whether the report has a mean of the metric for this arm."""
    return arm["mean"].get(metric) is not None


def _seeds(arm: Json, metric: str) -> list[float]:
    """The metric of every seed that has it."""
    metrics = [seed["metrics"] for seed in arm["seeds"]]
    return [values[metric] for values in metrics if values.get(metric) is not None]


def allowed_metric(report: Json) -> float | None:
    """The metric value that a kept model must not be worse than: the teacher's less `max_drop`."""
    metric = report["metric"]["name"]
    teacher = report["arms"].get("teacher")
    allowed = (report["verdict"] or {}).get("max_drop")
    if allowed is None or teacher is None or not _has(teacher, metric):
        return None
    mean: float = teacher["mean"][metric]
    if report["metric"]["higher_is_better"]:
        return mean - allowed
    return mean + allowed
