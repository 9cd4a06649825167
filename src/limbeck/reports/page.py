"""The report of a run: `report.json`, the same as one HTML page that needs nothing else, and the model card of an artifact.

The page is a pure function of the report (schema 1, DESIGN.md section 4) and of the training curves: the same input gives the
same bytes, and it holds no date. Python computes what is shown; the template (Jinja2, autoescaped, since labels and recipes are
the user's text) only lays it out. In the verdict a drop is how much worse the shipped arm is than the teacher, and a gain how much
better one arm is than another, whichever way the metric points. Curves show the mean over seeds and a band from the lowest seed to
the highest. Confusion is coloured by the share of its row, so that a frequent class such as O does not wash out the others.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from limbeck.core.files import write_bytes, write_json
from limbeck.reports import heatmap, speed

Json = dict[str, Any]
Sample = tuple[str, int, float, float]  # arm, seed, x, y

SCHEMA = 1
ARMS = {
    "teacher": "the large model",
    "plain": "no teacher",
    "kd": "distilled",
    "kd+ptq": "quantized afterwards",
    "joint": "quantized in training",
    "quantized": "no distillation",
}
GAINS = {
    "kd_gain": ("Did distillation help?", "kd", "plain"),
    "joint_gain": ("Did joint training help?", "joint", "kd+ptq"),
}
SCORES = ("precision", "recall", "f1")
AVERAGES = ("micro average", "macro average", "weighted average")
MAX_CONFUSION_LABELS = 24
MAX_STAGES = 16  # in one table; beyond, those reused from the cache are folded away
MAX_POINTS = 120  # of one curve; more steps are averaged in buckets
LOG_SPAN = 30  # a positive loss that spans more than this factor is drawn on a log axis
NONE, MINUS, TIMES = "\N{EN DASH}", "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
INTERVAL = "95\N{NO-BREAK SPACE}% interval"

MEASURES = {"agreement": "agreement with the teacher", "student_entropy": "student's entropy, nats"}


def write(report: Json, curves: list[Json], folder: Path) -> None:
    """Write `report.json`, then `report.html`, into a folder that exists. Raises ValueError as `render` does."""
    write_json(folder / "report.json", report)
    write_bytes(folder / "report.html", render(report, curves).encode())


def redraw(report: Json, folder: Path) -> None:
    """`write`, with the training curves that the folder holds."""
    curves = [
        json.loads(line)
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    write(report, curves, folder)


def render(report: Json, curves: list[Json]) -> str:
    """The report as one HTML page: inline style and SVG, no script, no network.

    Raises ValueError when the schema is not 1, or when Jinja2 is not installed.
    """
    if report["schema"] != SCHEMA:
        raise ValueError(
            f"report: schema {report['schema']!r} was found, this version reads {SCHEMA}. Run `limbeck run` again"
        )
    try:
        import jinja2
    except ImportError:
        raise ValueError(
            "report: the HTML page needs Jinja2. Install it: pip install 'limbeck[train]'"
        ) from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        decimal=_decimal,
        signed=_signed,
        percent=_percent,
        count=_count,
        size=_size,
        short=_short,
        duration=_duration,
        plain=_plain,
    )
    return environment.get_template("report.html.j2").render(_view(report, curves))


# What the page shows


def _view(report: Json, curves: list[Json]) -> Json:
    """Everything the template lays out."""
    arms = report["arms"]
    shipped = _shipped(arms)
    folded = len(report["stages"]) > MAX_STAGES
    compared = [name for name in dict.fromkeys(("teacher", shipped)) if name in arms]
    confusions = {
        name: _confusion(arm)
        for name, arm in arms.items()
        if arm["seeds"] and arm["seeds"][0].get("confusion")
    }
    return {
        "name": report.get("name") or report["task"],
        "task": report["task"],
        "metric": _metric_name(report["metric"]["name"]),
        "shipped": shipped,
        "verdict": report["verdict"],
        "sentence": _sentence(report),
        "figures": _figures(report),
        "arms": _arm_rows(report),
        "seeds": [(name, seed) for name, arm in arms.items() for seed in arm["seeds"]],
        "seed_metrics": list(
            dict.fromkeys(
                key for arm in arms.values() for seed in arm["seeds"] for key in seed["metrics"]
            )
        ),
        "gains": [] if report["verdict"] is None else [_gain(report, key) for key in GAINS],
        "speed": speed.sentences(report.get("speed")),
        "layers": heatmap.view(report.get("layers")),
        "notes": report.get("notes") or [],
        "parity": report["parity"],
        "charts": _charts(report, curves),
        "confusions": {name: confusions[name] for name in compared if name in confusions},
        "other_confusions": {
            name: value for name, value in confusions.items() if name not in compared
        },
        "compared": compared,
        "label_rows": _label_rows([arms[name] for name in compared]),
        "stages": [stage for stage in report["stages"] if not (folded and stage["reused"])],
        "reused_stages": [stage for stage in report["stages"] if folded and stage["reused"]],
        "stage_seconds": sum(stage["seconds"] for stage in report["stages"]),
        "recipe": report.get("recipe"),
        "facts": {"Machine": report["machine"], "Versions": report["versions"]},
        "colors": {name: _color(name) for name in arms},
    }


def _shipped(arms: Json) -> str:
    """The arm that is judged and whose artifact is handed out, whatever the order of the arms."""
    return next((name for name in reversed(ARMS) if name in arms), list(arms)[-1])


def _color(arm: str) -> int:
    """The number of an arm's colour in the style sheet: the same in every report."""
    return list(ARMS).index(arm) if arm in ARMS else len(ARMS) - 1


def _metric_name(name: str) -> str:
    return name.upper() if len(name) <= 4 else name.replace("_", " ")


def _sentence(report: Json) -> str:
    """The outcome in one sentence."""
    verdict, shipped = report["verdict"], _shipped(report["arms"])
    name = report["metric"]["name"]
    score = f"{_metric_name(name)} {_decimal(report['arms'][shipped]['mean'].get(name))}"
    if verdict is None:
        return f"No verdict was asked for: this run compared no arms. The {shipped} model scores {score}."
    against = report["arms"].get("teacher")
    rival = (
        f" against the teacher's {_decimal(against['mean'].get(name))}"
        if against and shipped != "teacher"
        else ""
    )
    ratios = [_ratio_text(verdict.get(key), better, worse) for key, better, worse in RATIOS]
    tail = " and ".join(text for text in ratios if text)
    return f"The {shipped} model scores {score}{rival}{_drop_text(report)}{f'; it is {tail}' if tail else ''}."


RATIOS = (("speedup", "faster", "slower"), ("compression", "smaller", "larger"))


def _drop_text(report: Json) -> str:
    """`, a drop of ... ({INTERVAL} ...)`, or nothing when it was not measured."""
    verdict, drop = report["verdict"], report["verdict"].get("drop")
    if drop is None:
        return ""
    words = ("drop", "gain") if report["metric"]["higher_is_better"] else ("rise", "fall")
    details = []
    if verdict.get("drop_ci95"):
        details.append(
            f"{INTERVAL}{'' if drop >= 0 else f' of the {words[0]}'} {_interval(verdict['drop_ci95'])}"
        )
    if verdict.get("max_drop") is not None:
        details.append(f"at most {_decimal(verdict['max_drop'])} allowed")
    text = f", a {words[drop < 0]} of {_decimal(abs(drop))}"
    return f"{text} ({'; '.join(details)})" if details else text


def _figures(report: Json) -> list[Json]:
    """The four numbers under the sentence: what, value, and what was asked or how sure."""
    verdict, shipped = report["verdict"], _shipped(report["arms"])
    if verdict is None:
        return []
    drop_word = "drop" if report["metric"]["higher_is_better"] else "rise"
    interval = verdict.get("drop_ci95")
    asked = verdict.get("min_speedup")
    metric = _metric_name(report["metric"]["name"])
    return [
        {
            "name": f"{metric[0].upper()}{metric[1:]} {drop_word}",
            "value": _decimal(verdict.get("drop")),
            "detail": f"{INTERVAL} {_interval(interval)}" if interval else "no interval",
        },
        {
            "name": "Speed-up",
            "value": _times(verdict.get("speedup")),
            "detail": f"at least {asked:g}{TIMES} asked" if asked else "over the teacher, p50",
        },
        {
            "name": "Compression",
            "value": _times(verdict.get("compression")),
            "detail": "bytes on disk",
        },
        {
            "name": "Agreement",
            "value": _percent(report["arms"][shipped].get("agreement")),
            "detail": "same answer as the teacher",
        },
    ]


def _gain(report: Json, key: str) -> Json:
    """Whether one arm beat another: question, answer in a word, and the sentence that proves it."""
    question, better, worse = GAINS[key]
    gain, interval = report["verdict"].get(key), report["verdict"].get(f"{key}_ci95")
    metric = _metric_name(report["metric"]["name"])
    if gain is None or not interval:
        missing = [arm for arm in (better, worse) if arm not in report["arms"]]
        reason = (
            f"this run has no arm {' and no arm '.join(missing)}"
            if missing
            else "the run holds no interval for it"
        )
        return {
            "question": question,
            "answer": "Not measured",
            "tone": "neutral",
            "text": f"{reason[0].upper()}{reason[1:]}.",
        }
    low, high = interval
    if low <= 0 <= high:
        text = f"{better} against {worse}: {_signed(gain)} {metric}, but the {INTERVAL}, {_interval(interval)}, contains 0."
        return {"question": question, "answer": "Not shown", "tone": "neutral", "text": text}
    verb, answer, tone = (
        ("beats", "Yes", "good") if low > 0 else ("is worse than", "No, it hurt", "bad")
    )
    text = f"{better} {verb} {worse} by {_decimal(abs(gain))} {metric} ({INTERVAL} of the gain {_interval(interval)})."
    return {"question": question, "answer": answer, "tone": tone, "text": text}


def _arm_rows(report: Json) -> list[Json]:
    """One row of the table for each arm, with its ratios to the teacher."""
    metric, teacher = report["metric"]["name"], report["arms"].get("teacher") or {}
    forest = _forest(report)
    rows = []
    for name, arm in report["arms"].items():
        own, base = arm.get("latency_ms") or {}, teacher.get("latency_ms") or {}
        is_teacher = name == "teacher"
        rows.append(
            {
                "name": name,
                "what": ARMS.get(name, ""),
                "mean": arm["mean"].get(metric),
                "interval": _interval(_bounds(arm, metric)),
                "forest": forest.get(name),
                "agreement": arm.get("agreement"),
                "parameters": arm.get("parameters"),
                "bytes": arm.get("bytes"),
                "bytes_ratio": None
                if is_teacher
                else _against(arm.get("bytes"), teacher.get("bytes"), "smaller", "larger"),
                "p50": own.get("p50"),
                "p99": own.get("p99"),
                "ms_ratio": None
                if is_teacher
                else _against(own.get("p50"), base.get("p50"), "faster", "slower"),
                "runtime": own.get("runtime"),
                "threads": own.get("threads"),
            }
        )
    return rows


def _bounds(arm: Json, metric: str) -> list[float] | None:
    return (arm.get("ci95") or {}).get(metric)


def _against(value: float | None, teacher: float | None, better: str, worse: str) -> Json | None:
    """The ratio to the teacher in words, and whether it is for the worse."""
    if not value or not teacher:
        return None
    return {"text": _ratio_text(teacher / value, better, worse), "worse": teacher < value}


def _forest(report: Json) -> Json:
    """Pixel positions of each arm's mean, interval and seeds, and of the least quality that is allowed, on one common axis."""
    metric, arms = report["metric"]["name"], report["arms"]
    seeds = {
        name: [seed["metrics"][metric] for seed in arm["seeds"] if metric in seed["metrics"]]
        for name, arm in arms.items()
    }
    drawn = {name: arm for name, arm in arms.items() if arm["mean"].get(metric) is not None}
    limit = _limit(report)
    values = [
        value
        for name, arm in drawn.items()
        for value in (arm["mean"][metric], *(_bounds(arm, metric) or ()), *seeds[name])
    ]
    if not values:
        return {}
    axis = Axis.over([*values, *([] if limit is None else [limit])], 8, 142)
    return {
        name: {
            "mean": axis.at(arm["mean"][metric]),
            "interval": [axis.at(bound) for bound in _bounds(arm, metric) or ()],
            "seeds": [axis.at(value) for value in seeds[name]] if len(seeds[name]) > 1 else [],
            "limit": None if limit is None else axis.at(limit),
        }
        for name, arm in drawn.items()
    }


def _limit(report: Json) -> float | None:
    """The metric value that a kept model must not be worse than."""
    metric, teacher = report["metric"], report["arms"].get("teacher")
    allowed = (report["verdict"] or {}).get("max_drop")
    if allowed is None or teacher is None or teacher["mean"].get(metric["name"]) is None:
        return None
    mean: float = teacher["mean"][metric["name"]]
    return mean - allowed if metric["higher_is_better"] else mean + allowed


# Confusion and labels


def _confusion(arm: Json) -> Json:
    """The first seed's matrix, cut to the labels that are confused most; a cell knows its share of its whole row."""
    labels, counts = arm["seeds"][0]["confusion"]["labels"], arm["seeds"][0]["confusion"]["counts"]
    shown = _most_confused(counts)
    rows = [
        {
            "label": labels[true],
            "total": sum(counts[true]),
            "cells": [_cell(counts[true], true, predicted) for predicted in shown],
        }
        for true in shown
    ]
    return {
        "labels": [labels[i] for i in shown],
        "rows": rows,
        "num_labels": len(labels),
        "seed": arm["seeds"][0]["seed"],
    }


def _most_confused(counts: Sequence[Sequence[int]]) -> list[int]:
    """Indices of the labels with the most errors, as true or as predicted label; at most 24, in their own order."""
    errors = [
        sum(row) + sum(other[i] for other in counts) - 2 * row[i] for i, row in enumerate(counts)
    ]
    worst = sorted(range(len(counts)), key=lambda i: (-errors[i], i))
    return sorted(worst[:MAX_CONFUSION_LABELS])


def _cell(row: Sequence[int], true: int, predicted: int) -> Json:
    """Opacity grows with the share of the row; as its square root off the diagonal, where a small share matters."""
    share = row[predicted] / max(1, sum(row))
    hit = true == predicted
    opacity = 0.5 * share if hit else 0.75 * math.sqrt(share)
    return {"count": row[predicted], "share": share, "hit": hit, "opacity": f"{opacity:.3f}"}


def _label_rows(arms: Sequence[Json]) -> list[Json]:
    """Precision, recall and F1 of each label, for each arm the mean over its seeds; averages come last."""
    scores = [_label_scores(arm) for arm in arms]
    labels = list(dict.fromkeys(label for table in scores for label in table))
    labels.sort(key=lambda label: AVERAGES.index(label) if label in AVERAGES else -1)
    return [_label_row(label, [table.get(label, {}) for table in scores]) for label in labels]


def _label_row(label: str, scores: Sequence[Json]) -> Json:
    f1 = [score["f1"] for score in scores if score.get("f1") is not None]
    return {
        "label": label,
        "average": label in AVERAGES,
        "support": next(
            (score["support"] for score in scores if score.get("support") is not None), None
        ),
        "scores": [score.get(key) for score in scores for key in SCORES],
        "difference": f1[1] - f1[0] if len(f1) == 2 else None,
    }


def _label_scores(arm: Json) -> dict[str, Json]:
    found: dict[str, list[Json]] = defaultdict(list)
    for seed in arm["seeds"]:
        for row in seed.get("per_label") or []:
            found[row["label"]].append(row)
    return {
        label: {key: _mean(row.get(key) for row in rows) for key in (*SCORES, "support")}
        for label, rows in found.items()
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


# Charts


@dataclass(frozen=True)
class Axis:
    """The values `low` to `high` on the pixels `start` to `end`, by decades when `log`; `whole` allows ticks at integers only."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    whole: bool = False

    @classmethod
    def over(
        cls,
        values: Sequence[float],
        start: float,
        end: float,
        *,
        log: bool = False,
        whole: bool = False,
    ) -> "Axis":
        """An axis that holds every value, with a little air (none on an axis of steps)."""
        low, high = min(values), max(values)
        if log:
            return cls(low / 1.15, high * 1.15, start, end, log=True)
        air = (
            (0.0 if whole else 0.06 * (high - low))
            if high > low
            else max(0.5 * whole, 0.05 * abs(high), 1e-9)
        )
        return cls(low - air, high + air, start, end, whole=whole)

    def at(self, value: float) -> float:
        """The pixel of a value, to a tenth."""
        low, high, place = (
            (math.log10(v) for v in (self.low, self.high, value))
            if self.log
            else (self.low, self.high, value)
        )
        return round(self.start + (place - low) / (high - low) * (self.end - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """(pixel, text) of three to eight round values."""
        values = (
            _log_ticks(self.low, self.high)
            if self.log
            else _even_ticks(self.low, self.high, whole=self.whole)
        )
        return [
            (self.at(value), f"{value:g}".replace("e-0", "e-").replace("-", MINUS))
            for value in values
        ]


def _even_ticks(low: float, high: float, *, whole: bool) -> list[float]:
    power = 10.0 ** math.floor(math.log10((high - low) / 5))
    step = next(
        factor * power for factor in (1, 2, 5, 10) if factor * power >= (high - low) / 5 * 0.999
    )
    step = max(1.0, step) if whole else step
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if high / low < 150 else (1,)
    return [
        factor * 10.0**power
        for power in powers
        for factor in factors
        if low <= factor * 10.0**power <= high
    ]


@dataclass(frozen=True)
class Point:
    """One place of a curve: the mean over seeds, and the lowest and the highest seed."""

    x: float
    mean: float
    low: float
    high: float


def _charts(report: Json, curves: list[Json]) -> list[Json]:
    """One chart for the total loss, one for each term, one for what was measured beside them, one for the validation metric; only those with data."""
    metric = report["metric"]["name"]
    terms: dict[str, list[Sample]] = {"total loss": []}
    measures: dict[str, list[Sample]] = {title: [] for title in MEASURES.values()}
    validation: list[Sample] = []
    for row in curves:
        place = row["arm"], row["seed"], row.get("step", 0)
        for term, value in row.get("losses", {}).items():
            terms.setdefault(f"{term} loss", []).append((*place, value))
        for name, value in row.get("measures", {}).items():
            if title := MEASURES.get(name) or _pull(name):
                measures.setdefault(title, []).append((*place, value))
        if metric in row.get("validation", {}):
            validation.append(
                (row["arm"], row["seed"], row["epoch"] + 1, row["validation"][metric])
            )
    drawn = [
        _chart(title, "step", samples, report) for title, samples in (terms | measures).items()
    ]
    return [
        chart
        for chart in (
            *drawn,
            _chart(f"{_metric_name(metric)} on validation", "epoch", validation, report),
        )
        if chart
    ]


def _pull(measure: str) -> str | None:
    """The title of a term's share of the gradient."""
    return (
        f"{measure.removeprefix('pull.')}: share of the gradient"
        if measure.startswith("pull.")
        else None
    )


def _chart(title: str, x_title: str, samples: list[Sample], report: Json) -> Json | None:
    """One chart's axes and lines in pixels, or None when there is nothing finite to draw."""
    finite = [sample for sample in samples if sample[3] is not None and math.isfinite(sample[3])]
    if not finite:
        return None
    order = dict.fromkeys([*report["arms"], *(sample[0] for sample in finite)])
    lines = {arm: _over_seeds([sample for sample in finite if sample[0] == arm]) for arm in order}
    drawn = {arm: points for arm, points in lines.items() if points}
    points = [point for line in drawn.values() for point in line]
    low, high = min(point.low for point in points), max(point.high for point in points)
    log = low > 0 and high / low > LOG_SPAN
    x_axis = Axis.over([point.x for point in points], 44, 348, whole=True)
    y_axis = Axis.over([low, high], 176, 10, log=log)
    return {
        "title": title,
        "x_title": x_title,
        "log": log,
        "x_ticks": x_axis.ticks(),
        "y_ticks": y_axis.ticks(),
        "lines": [_line(arm, line, x_axis, y_axis) for arm, line in drawn.items()],
    }


def _over_seeds(samples: list[Sample]) -> list[Point]:
    """A curve of at most about MAX_POINTS points: a bucket of steps has its last step and each
    seed's mean; then mean and range over the seeds."""
    steps = sorted({x for _, _, x, _ in samples})
    width = math.ceil(len(steps) / MAX_POINTS)
    buckets: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    place = {x: i // width if width else 0 for i, x in enumerate(steps)}
    for _, seed, x, y in samples:
        buckets[place[x]][seed].append(y)
    points = []
    for bucket, by_seed in sorted(buckets.items()):
        means = [fmean(values) for _, values in sorted(by_seed.items())]
        points.append(
            Point(
                steps[min((bucket + 1) * width, len(steps)) - 1],
                fmean(means),
                min(means),
                max(means),
            )
        )
    return points


def _line(arm: str, points: list[Point], x_axis: Axis, y_axis: Axis) -> Json:
    """SVG paths of a curve and of its band over seeds; dots where the points are few."""
    mean = [(x_axis.at(point.x), y_axis.at(point.mean)) for point in points]
    upper = [(x_axis.at(point.x), y_axis.at(point.high)) for point in points]
    lower = [(x_axis.at(point.x), y_axis.at(point.low)) for point in reversed(points)]
    return {
        "arm": arm,
        "color": _color(arm),
        "path": _path(mean),
        "band": f"{_path(upper + lower)}Z" if upper != lower[::-1] else None,
        "dots": mean if len(mean) <= 12 else [],
        "last": _short(points[-1].mean),
    }


def _path(points: list[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


# Numbers as text


def _decimal(value: float | None, digits: int = 4) -> str:
    return NONE if value is None else f"{value:.{digits}f}".replace("-", MINUS)


def _signed(value: float | None, digits: int = 4) -> str:
    return NONE if value is None else f"{value:+.{digits}f}".replace("-", MINUS)


def _interval(bounds: Sequence[float] | None) -> str:
    return f"{_decimal(bounds[0])} to {_decimal(bounds[1])}" if bounds else ""


def _percent(share: float | None) -> str:
    """A share in percent, with as many digits as it takes not to call 99.9996 % a hundred."""
    if share is None:
        return NONE
    text = next(
        (
            text
            for text in (f"{100 * share:.{digits}f}" for digits in (2, 3, 4, 5, 6))
            if float(text) < 100
        ),
        "100",
    )
    return f"{text}\N{NO-BREAK SPACE}%"


def _short(value: float | None) -> str:
    """Three significant digits, never an exponent above 1e-4."""
    if value is None or value == 0:
        return NONE if value is None else "0"
    digits = max(0, 2 - int(f"{value:.2e}".split("e")[1]))
    return (f"{value:.{digits}f}" if digits <= 6 else f"{value:.2e}").replace("-", MINUS)


def _count(value: float | None) -> str:
    """A count with thousands apart by a thin space, or in millions."""
    if value is None:
        return NONE
    return f"{value / 1e6:.1f} M" if value >= 1e6 else f"{round(value):,}".replace(",", "\u202f")


def _size(num_bytes: float | None) -> str:
    """Bytes in decimal units, three significant digits."""
    if num_bytes is None:
        return NONE
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= factor * 0.9995:
            return f"{_short(num_bytes / factor)} {unit}"
    return f"{round(num_bytes)} B"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60) if seconds >= 3600 else int(seconds // 60)
    return (
        f"{minutes // 60} h {minutes % 60:02d} min"
        if seconds >= 3600
        else f"{minutes} min {int(seconds % 60):02d} s"
    )


def _times(ratio: float | None) -> str:
    return NONE if ratio is None else f"{_short(ratio)}{TIMES}"


def _ratio_text(ratio: float | None, better: str, worse: str) -> str:
    """`12.0× faster`, or `1.30× slower` for a ratio below 1; nothing when it is not known."""
    if not ratio:
        return ""
    return f"{_times(ratio)} {better}" if ratio >= 1 else f"{_times(1 / ratio)} {worse}"


def _plain(value: Any) -> str:
    """A value of a flat dictionary as text."""
    if value is None:
        return NONE
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
