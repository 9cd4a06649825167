"""The report of a run: `report.json`, and the same as one HTML page that needs nothing else.

The page is a pure function of the report (schema 2; `earlier.py` reads older ones) and of the
training curves: the same input gives the same bytes, and it holds no date. Python computes what is
shown; the template (Jinja2, autoescaped, since labels and recipes are the user's text) only lays it
out. One small script filters the rows that are answered otherwise; it hides rows, and makes none.
"""

import json
from pathlib import Path
from typing import Any

from limbeck.core.files import write_bytes, write_json
from limbeck.core.html.environment import digest, environment
from limbeck.reports import (
    arms,
    calibration,
    earlier,
    labels,
    lost,
    numbers,
    outcome,
    speed,
)
from limbeck.reports.drawing import charts, heatmap, overview
from limbeck.reports.writing import section

Json = dict[str, Any]

TEMPLATES = Path(__file__).parent / "templates"
MAX_STAGES = 16  # in one table; beyond, those reused from the cache are folded away


def write(report: Json, curves: list[Json], folder: Path) -> None:
    """Write `report.json`, then `report.html`, into a folder that exists.

    Raises ValueError as `render` does.
    """
    # The numbers first: a page that cannot be drawn must not lose them.
    write_json(folder / "report.json", report)
    write_bytes(folder / "report.html", render(report, curves).encode())


def redraw(report: Json, folder: Path) -> None:
    """`write`, with the training curves that the folder holds."""
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    write(report, [json.loads(line) for line in text.splitlines()], folder)


def render(report: Json, curves: list[Json]) -> str:
    """The report as one HTML page: inline style and SVG, no network, and no script but the one that
    filters a table.

    report: the content of report.json.
    curves: the lines of metrics.jsonl.

    Raises ValueError for a schema that this version does not read.
    """
    report = earlier.as_today(report)
    pages = environment(TEMPLATES)
    # The template writes `value | decimal`, and never formats a number by itself.
    pages.filters.update(
        decimal=numbers.decimal,
        signed=numbers.signed,
        percent=numbers.percent,
        count=numbers.count,
        size=numbers.size,
        short=numbers.short,
        duration=numbers.duration,
        p_value=numbers.p_value,
        plain=numbers.plain,
    )
    return pages.get_template("report.html.j2").render(view(report, curves))


def view(report: Json, curves: list[Json]) -> Json:
    """Everything that the template lays out, by the names that it uses."""
    laid_out = {
        **_head(report),
        **_arms_and_seeds(report),
        **_labels(report["arms"]),
        **_stages(report["stages"]),
        "speed": speed.sentences(report.get("speed")),
        "cpu_time": speed.is_cpu_time(report.get("speed")),
        "lost": lost.view(report.get("lost")),
        "written": section.view(report.get("written")),
        "calibration": calibration.view(report.get("calibration")),
        "layers": heatmap.view(report.get("layers")),
        "notes": report.get("notes") or [],
        "parity": report["parity"],
        "charts": charts.charts(report, curves),
        "recipe": report.get("recipe"),
        "facts": {"Machine": report["machine"], "Versions": report["versions"]},
        "paretos": overview.paretos(report),
        "waterfall": overview.waterfall(report.get("speed")),
        "terms": TERMS,
        "script": script(),
    }
    return {**laid_out, "contents": _contents(laid_out)}


def script() -> Json:
    """The one script of the page, and its digest: what stands in the page otherwise never runs."""
    text = (TEMPLATES / "filter.js").read_text(encoding="utf-8")
    # By its digest the browser knows the script, whatever a report's texts may hold.
    return {"text": text, "digest": digest(text)}


# Words of tables that not every reader knows.
TERMS = {
    "Agreement": "the share of test rows that are answered as the teacher answers them",
    "95 % interval": "of a hundred test splits drawn alike, 95 hold the true value in theirs",
    "ECE": "expected calibration error: how far a probability is from the share that is right",
    "NLL": "negative log-likelihood: how improbable the right answers are to the model",
    "ROUGE-L": "how much of an answer's words stand in the data's answer in the same order, 0 to 1",
    "Distinct-1": "the share of all words that are different ones; Distinct-2: of pairs of words",
    "Repetition": "the share of stretches of four words that stood in the same answer before",
    "Flips": "decisions of the exported graph that are not those of the trained model",
}
# The sections by their anchor, and what of the view each needs.
SECTIONS = {
    "Arms": "arms",
    "Notes": "notes",
    "Lost": "lost",
    "Writing": "written",
    "Parity": "parity",
    "Calibration": "calibration",
    "Layers": "layers",
    "Training": "charts",
    "Confusion": "has_confusions",
    "Labels": "label_rows",
    "Stages": "stages",
    "Recipe": "recipe",
}


def _contents(laid_out: Json) -> list[str]:
    """The sections that the page has, by their anchors."""
    return [title for title, key in SECTIONS.items() if laid_out[key]]


def _head(report: Json) -> Json:
    """The title and the verdict."""
    return {
        # What the user called the run; the task where it has no name.
        "name": report.get("name") or report["task"],
        "task": report["task"],
        "verdict": report["verdict"],
        "sentence": outcome.sentence(report),
        "figures": outcome.figures(report),
        "gains": outcome.gains(report),
    }


def _arms_and_seeds(report: Json) -> Json:
    """The table of arms, and the one of every seed."""
    seeds = [(name, seed) for name, arm in report["arms"].items() for seed in arm["seeds"]]
    # The columns are all metrics that some seed has, in the order in which they come up.
    seed_metrics = dict.fromkeys(metric for _, seed in seeds for metric in seed["metrics"])
    return {
        "metric": arms.metric_title(report["metric"]["name"]),
        "shipped": arms.shipped_arm(report["arms"]),
        "arms": arms.arm_rows(report),
        "colors": {name: arms.color_of(name) for name in report["arms"]},
        "seeds": seeds,
        "seed_metrics": list(seed_metrics),
    }


def _labels(by_name: Json) -> Json:
    """Confusion and labels of the teacher and the shipped arm; other arms' matrices are folded."""
    shipped = arms.shipped_arm(by_name)
    # The teacher may itself be what is shipped, and a run may have none.
    compared = [name for name in dict.fromkeys(("teacher", shipped)) if name in by_name]
    matrices = labels.confusions(by_name)
    confused = [name for name in compared if name in matrices]
    others = {name: matrix for name, matrix in matrices.items() if name not in compared}
    arms_compared = [by_name[name] for name in compared]
    shown, folded = labels.worst_labels(labels.label_rows(arms_compared))
    # A matrix that is cut to some of the labels hides most of what is mistaken for what.
    is_cut = any(matrix["num_labels"] > len(matrix["labels"]) for matrix in matrices.values())
    return {
        "compared": compared,
        "has_confusions": bool(matrices),
        "confused": confused,
        "mistakes": labels.mistakes(arms_compared) if is_cut else [],
        "confusions": {name: matrices[name] for name in confused},
        "other_confusions": others,
        "label_rows": shown,
        "other_label_rows": folded,
    }


def _stages(stages: list[Json]) -> Json:
    """The stages of the run; of many, those from the cache apart."""
    is_folded = len(stages) > MAX_STAGES
    return {
        "stages": [stage for stage in stages if not (is_folded and stage["reused"])],
        "reused_stages": [stage for stage in stages if is_folded and stage["reused"]],
        "stage_seconds": sum(stage["seconds"] for stage in stages),
    }
