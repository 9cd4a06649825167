"""Every table of a report as plain rows, for a spreadsheet or another program: a csv and a JSON
file each.

A row has names and single values alone: an interval is two columns, `..._low` and `..._high`. Of
what a report has no figures for there is no table.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from limbeck.core.files import write_bytes, write_csv
from limbeck.reports.arms import bounds_of
from limbeck.reports.lost import joined

Json = dict[str, Any]

# Keys of a row that are pictures, or tables of their own.
LEFT_OUT = ("thumbnail",)


def write(found: Mapping[str, Sequence[Json]], folder: Path) -> list[Path]:
    """Write tables, a csv and a JSON file each, into a folder that exists; the files written."""
    files = []
    for name, rows in found.items():
        files += [folder / f"{name}.csv", folder / f"{name}.json"]
        write_csv(files[-2], rows)
        write_bytes(files[-1], f"{json.dumps(rows, ensure_ascii=False, indent=1)}\n".encode())
    return files


def tables(report: Json) -> dict[str, list[Json]]:
    """The tables of a report of schema 2, by name."""
    # 1. What every report has.
    arms = report["arms"]
    found = {
        "arms": [arm_row(name, arm) for name, arm in arms.items()],
        "seeds": seeds(arms),
        "labels": labels(arms),
        "confusion": confusion(arms),
        "parity": list(map(flat, report["parity"])),
        "stages": list(map(flat, report["stages"])),
    }
    # 2. What a run without a verdict, a teacher or quantization lacks.
    verdict = report["verdict"] or {}
    lost = report.get("lost") or {}
    layers = report.get("layers") or {}
    calibration = report.get("calibration") or {}
    found["gains"] = list(map(flat, verdict.get("gains", [])))
    changed = lost.get("changed", [])
    found["changed_rows"] = list(chain.from_iterable(map(changed_lines, changed)))
    written = report.get("written") or {}
    found["writing"] = list(map(flat, named(written.get("writers", {}))))
    found["written_answers"] = list(
        chain.from_iterable(map(answer_lines, written.get("examples", [])))
    )
    found["lost_kinds"] = list(map(flat, lost.get("slices", [])))
    found["layers"] = list(map(flat, layers.get("layers", [])))
    models = calibration.get("models") or {}
    found["calibration"] = [
        {"model": name, **flat(row)}
        for name, row in models.items()
        # A model that could not be fitted has no figures.
        if row
    ]
    return {name: rows for name, rows in found.items() if rows}


def named(by_name: Mapping[str, Json]) -> list[Json]:
    """Rows by the name of a model, with it."""
    return [{"model": name, **row} for name, row in by_name.items()]


def answer_lines(example: Json) -> list[Json]:
    """One line for each model's answer to a question."""
    told = {key: example[key] for key in ("row", "question", "reference")}
    return [
        {**told, "model": name, "answer": text, "differs": example["differs"].get(name)}
        for name, text in example["answers"].items()
    ]


def flat(row: Mapping[str, Any]) -> Json:
    """A row without what is itself a table: of two numbers both, of other lists and of tables
    nothing; `weight_range` and `ci95` are such pairs."""
    single: Json = {}
    for key, value in row.items():
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], int | float):
            single[f"{key}_low"], single[f"{key}_high"] = value
        elif key not in LEFT_OUT and not isinstance(value, list | dict):
            single[key] = value
    return single


def arm_row(name: str, arm: Json) -> Json:
    """An arm: every metric with its interval, and what it takes."""
    row: Json = {"arm": name}
    for metric, value in arm["mean"].items():
        row[metric] = value
        # A metric that is undefined has no interval.
        low, high = bounds_of(arm, metric) or (None, None)
        row[f"{metric}_low"] = low
        row[f"{metric}_high"] = high
    for key in ("agreement", "parameters", "bytes"):
        row[key] = arm.get(key)
    # What is not handed out, such as a linear model, was not timed.
    latency = arm.get("latency_ms") or {}
    for key, value in flat(latency).items():
        row[f"latency_{key}"] = value
    return row


def seeds(arms: Mapping[str, Json]) -> list[Json]:
    """A row for every seed of every arm."""
    return [
        {"arm": name, "seed": seed["seed"], **flat(seed["metrics"])}
        for name, arm in arms.items()
        for seed in arm["seeds"]
    ]


def labels(arms: Mapping[str, Json]) -> list[Json]:
    """A row for every label, of the first seed of every arm."""
    return [
        {"arm": name, **flat(row)}
        for name, arm in arms.items()
        for row in arm["seeds"][0].get("per_label") or []
    ]


def confusion(arms: Mapping[str, Json]) -> list[Json]:
    """How often each label gets each answer, of the first seed of every arm; what never happens is
    left out."""
    rows = []
    for name, arm in arms.items():
        matrix = arm["seeds"][0].get("confusion") or {"labels": [], "counts": []}
        labels_of = matrix["labels"]
        for true, counts in zip(labels_of, matrix["counts"], strict=True):
            for answered, count in zip(labels_of, counts, strict=True):
                if count:
                    row = {"arm": name, "label": true, "answered": answered, "count": count}
                    rows.append(row)
    return rows


def changed_lines(row: Json) -> list[Json]:
    """A line for each answer of a row that the student answers otherwise: of a sentence several."""
    lines = []
    for answer in row["answers"]:
        # Several labels of one text are a list.
        names = {key: joined(value) for key, value in answer.items()}
        lines.append(flat(row) | names)
    return lines
