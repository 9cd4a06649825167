"""Whether probabilities mean what they say, as a sentence, a table and a chart, and what `decide`
came to. From report.json's `calibration`; reports of earlier versions have none."""

from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.evaluation.decisions.fitting import FEWEST_INPUTS
from limbeck.reports.drawing.axis import Axis
from limbeck.reports.drawing.charts import BOTTOM, LEFT, RIGHT, TOP, path
from limbeck.reports.numbers import decimal

Json = dict[str, Any]

# Model in report.json -> its name for a reader, and its colour, that of an arm. `kept`: on the half
# of validation that is kept for the promise.
MODELS = {
    "float": ("float student", 2),
    "raw": ("artifact, as its graph says", 1),
    "fitted": ("artifact, fitted", 4),
    "kept": ("the same on kept validation rows", 3),
}


def sentences(found: Mapping[str, Any] | None) -> list[str]:
    """The calibration in a line, and a line for whatever was asked of `decide`."""
    if not found or not found["models"]["fitted"]:
        return []
    raw, fitted = (found["models"][name] for name in ("raw", "fitted"))
    how = f"temperature {found['temperature']:.3g}{', with biases' if found['bias'] else ''}"
    if found["inputs"] < FEWEST_INPUTS:
        how = (
            f"nothing was fitted: {found['inputs']} inputs of validation differ, and "
            f"{FEWEST_INPUTS} are needed"
        )
    is_within = fitted["ece"] <= fitted["perfect_p95"]
    lines = [
        f"calibration: ECE {fitted['ece']:.4f} of the probabilities of {found['of']} (before "
        f"fitting {raw['ece']:.4f}), {'within' if is_within else 'above'} what a perfectly "
        f"calibrated model may have here ({fitted['perfect_p95']:.4f}); {how}"
    ]
    return [*lines, *promises(found), *decisions(found)]


def promises(found: Mapping[str, Any]) -> list[str]:
    """What is promised, and what came of it on test."""
    lines = []
    promise = found["promise"]
    if promise and promise["threshold"] is not None:
        test = promise["test"]
        error = "-" if test["error"] is None else f"{test['error']:.4f}"
        lines.append(
            f"promise: at most {promise['max_error']:g} of the answers is wrong "
            f"({promise['confidence']:.0%} confidence; {promise['errors']} of "
            f"{promise['answered']:,} kept rows are). On test {test['coverage']:.1%} of the rows "
            f"are answered, {error} of them wrongly{_shift(found)}"
        )
    elif promise:
        lines.append(
            f"promise: none. That at most {promise['max_error']:g} of the answers is wrong "
            f"cannot be shown; {promise['needed']:,} answered rows without an error would do"
        )
    sets = found["sets"]
    if sets:
        test = sets["test"]
        lines.append(
            f"sets: {sets['coverage']:.0%} were to hold the true label, on test "
            f"{test['coverage']:.1%} do; {test['mean_size']:.2f} labels in the mean, one alone in "
            f"{test['one_label']:.1%}{_shift(found)}"
        )
    return lines


def _shift(found: Mapping[str, Any]) -> str:
    """What is different in test, behind a promise that stands on validation."""
    words = (found["shift"] or {}).get("words")
    return f". But test is not drawn as validation: {words}" if words else ""


def decisions(found: Mapping[str, Any]) -> list[str]:
    """What costs, thresholds or biases changed of the answers."""
    answers = found["answers"]
    if not answers:
        return []
    before, after = answers["most_probable"], answers["as_answered"]
    # Metrics that the decision moves: those of the order of scores stay.
    moved = [
        f"{name} {decimal(before[name])} to {decimal(after[name])}"
        for name in before
        if before[name] != after[name]
    ]
    told = f"answers: {'; '.join(moved) or 'no metric moved'}"
    if "cost_as_answered" in answers:
        costs = (answers[f"cost_{name}"] for name in ("most_probable", "as_answered"))
        told += "; mean cost {:.4g} to {:.4g}".format(*costs)
    lines = [f"{told}; before: the most probable labels of the graph"]
    if answers.get("alike"):
        lines.append(costs_of_models(found["arm"], answers["alike"], found["metric"]))
    return lines


def costs_of_models(own: str, alike: Mapping[str, Json], metric: str) -> str:
    """What every model's answers cost, decided alike, and which part of a drop is the costs'."""
    constant = alike["constant"]
    models = {name: row for name, row in alike.items() if name != "constant"}
    costs = ", ".join(f"{name} {row['cost']:.4g}" for name, row in models.items())
    line = (
        f"costs: every model decides by them, and a row costs: {costs}; `{constant['label']}` "
        f"for every row {constant['cost']:.4g}"
    )
    teacher = models.get("teacher")
    if teacher is None or own == "teacher":
        return line
    ways = ("as_answered", "most_probable")
    answered, probable = (teacher[way] - models[own][way] for way in ways)
    return (
        f"{line}. {metric} from teacher to `{own}` falls by {answered:.4f} as they answer, by "
        f"{probable:.4f} in their most probable labels: the first holds what the costs ask for, "
        "the second is the model's alone"
    )


def view(found: Mapping[str, Any] | None) -> Json | None:
    """What the page lays out; None where nothing was fitted."""
    if not found or not found["models"]["fitted"]:
        return None
    models = {name: model for name, model in found["models"].items() if model}
    return {
        "arm": found["arm"],
        "of": found["of"],
        "sentences": sentences(found),
        "rows": [_row(name, model) for name, model in models.items()],
        "charts": [diagram(models), *coverage(found), *cascade(found)],
        "labels": worst_labels(found),
    }


def _row(name: str, model: Mapping[str, Any]) -> Json:
    """A row of the table of models."""
    title, color = MODELS[name]
    return {"name": title, "color": color, **model}


def diagram(models: Mapping[str, Json]) -> Json:
    """The reliability diagram: the share that holds, by probability; the diagonal is perfect."""
    every = [each[key] for model in models.values() for each in model["bins"] for key in _AXES]
    x_axis, y_axis = _square([*every, 1.0])
    lines = []
    for name, model in models.items():
        points = [(each["probability"], each["share"]) for each in model["bins"]]
        title, color = MODELS[name]
        lines.append(_line(title, color, points, x_axis, y_axis) | {"last": ""})
    # The corners of the frame, where both axes have the same ends.
    ends = [(x_axis.low, x_axis.low), (x_axis.high, x_axis.high)]
    return {
        **_frame("Reliability: share that is right", "probability", x_axis, y_axis),
        "diagonal": path(_pixels(ends, x_axis, y_axis)),
        "lines": lines,
    }


_AXES = ("probability", "share")


def coverage(found: Mapping[str, Any]) -> list[Json]:
    """The error of what is answered, by the share of rows that is; none without labelled rows."""
    points = [(each["coverage"], each["error"]) for each in found["coverage"]]
    if not points:
        return []
    x_axis = Axis.over([0.0, 1.0], LEFT, RIGHT)
    asked = (found["promise"] or {}).get("max_error")
    # The promised error belongs into the picture, whether it is reached or not.
    y_axis = Axis.over([0.0, *(error for _, error in points), asked or 0.0], BOTTOM, TOP)
    drawn = _line("artifact, fitted", 4, points, x_axis, y_axis) | {"last": ""}
    limit = [(x_axis.low, asked), (x_axis.high, asked)] if asked else []
    return [
        {
            **_frame("Error of the answered rows", "share of rows answered", x_axis, y_axis),
            "diagonal": path(_pixels(limit, x_axis, y_axis)) if limit else None,
            "lines": [drawn],
        }
    ]


def cascade(found: Mapping[str, Any]) -> list[Json]:
    """The metric of student and teacher together, by milliseconds a row; none without a teacher."""
    rows = found["cascade"] or []
    name = found["metric"]
    points = [(row["ms"], row["metrics"][name]) for row in rows]
    known = [(ms, value) for ms, value in points if value is not None]
    # Two points are no curve.
    if len(known) < 3:
        return []
    x_axis = Axis.over([ms for ms, _ in known], LEFT, RIGHT)
    y_axis = Axis.over([value for _, value in known], BOTTOM, TOP)
    drawn = _line("abstained rows to the teacher", 4, known, x_axis, y_axis) | {"last": ""}
    title = f"Cascade: {name.replace('_', ' ')}"
    frame = _frame(title, "milliseconds a row", x_axis, y_axis)
    return [{**frame, "diagonal": None, "lines": [drawn]}]


def worst_labels(found: Mapping[str, Any], most: int = 12) -> list[Json]:
    """Of several labels those that are furthest off after fitting."""
    rows = found["per_label"] or []
    return sorted(rows, key=lambda row: -row["ece_fitted"])[:most]


def _square(values: Sequence[float]) -> tuple[Axis, Axis]:
    """Two axes with the same ends, from 0 or the lowest value to 1."""
    low = min(0.9, *values)
    # A tenth below, on round numbers.
    start = max(0.0, (10 * low) // 1 / 10)
    return Axis(start, 1.0, LEFT, RIGHT), Axis(start, 1.0, BOTTOM, TOP)


def _frame(title: str, x_title: str, x_axis: Axis, y_axis: Axis) -> Json:
    """What every chart of the page has (`charts.chart`)."""
    ticks = {"x_ticks": x_axis.ticks(), "y_ticks": y_axis.ticks()}
    # No training stands behind these, whose best epoch could be ringed.
    return {"title": title, "x_title": x_title, "log": False, "rings": [], **ticks}


def _line(
    name: str, color: int, points: Sequence[tuple[float, float]], x_axis: Axis, y_axis: Axis
) -> Json:
    """A curve with its points."""
    dots = _pixels(points, x_axis, y_axis)
    return {"arm": name, "color": color, "path": path(dots), "band": None, "dots": dots}


def _pixels(
    points: Sequence[tuple[float, float]], x_axis: Axis, y_axis: Axis
) -> list[tuple[float, float]]:
    """Where points lie in the picture."""
    return [(x_axis.at(x), y_axis.at(y)) for x, y in points]
