"""Several runs beside each other: what each ships, what it kept, and what that costs."""

from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.core import yaml12
from limbeck.core.wording import figure
from limbeck.reports.arms import bounds_of, shipped_arm
from limbeck.reports.speed import milliseconds

Json = dict[str, Any]

# A column's title in the terminal, by its key in a row.
TITLES = {
    "run": "run",
    "metric": "metric",
    "teacher": "teacher",
    "arm": "ships",
    "score": "score",
    "interval": "95 % interval",
    "drop": "drop",
    "verdict": "verdict",
    "speedup": "x faster",
    "compression": "x smaller",
    "bytes": "bytes",
    "ms": "ms",
}


def compared(reports: Mapping[str, Json]) -> list[Json]:
    """A row for each run: its report of schema 2 by the run's name. What a run did not measure is
    None."""
    return [row_of(name, report) for name, report in reports.items()]


def row_of(name: str, report: Json) -> Json:
    """The row of one run."""
    metric = report["metric"]["name"]
    arm = shipped_arm(report["arms"])
    shipped = report["arms"][arm]
    teacher = report["arms"].get("teacher")
    verdict = report["verdict"] or {}
    low, high = bounds_of(shipped, metric) or (None, None)
    return {
        "run": name,
        "task": report["task"],
        "metric": metric,
        "teacher": teacher and teacher["mean"].get(metric),
        "arm": arm,
        "score": shipped["mean"].get(metric),
        "score_low": low,
        "score_high": high,
        "drop": verdict.get("drop"),
        "kept": verdict.get("kept"),
        "speedup": verdict.get("speedup"),
        "compression": verdict.get("compression"),
        "bytes": shipped.get("bytes"),
        "ms": milliseconds(shipped["latency_ms"]) if shipped.get("latency_ms") else None,
    }


def of_other_data(reports: Mapping[str, Json]) -> str:
    """That some runs read other data than others, whose scores then do not compare; nothing where
    all read the same, by their recipes."""
    data = {name: _data_of(report) for name, report in reports.items()}
    if len(set(data.values())) < 2:
        return ""
    return (
        "the runs are of other data, or of other splits of it: a score compares with scores of the "
        "same test rows alone"
    )


def _data_of(report: Json) -> str:
    """A run's task and data, as its recipe has them."""
    _, recipe = yaml12.load(report["recipe"], "the report's recipe")
    return str((report["task"], recipe.get("data")))


def lines(rows: Sequence[Json]) -> list[str]:
    """The rows as a table for the terminal, as wide as its longest values."""
    cells = [list(TITLES.values()), *([told(row, key) for key in TITLES] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    table = []
    for line in cells:
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        table.append("  ".join(padded).rstrip())
    return table


def told(row: Json, key: str) -> str:
    """One cell."""
    if key == "interval":
        low, high = row["score_low"], row["score_high"]
        return "-" if low is None else f"[{figure(low)}, {figure(high)}]"
    if key == "verdict":
        return {None: "-", True: "KEPT", False: "NOT KEPT"}[row["kept"]]
    value = row[key]
    if value is None or isinstance(value, str):
        return value or "-"
    if key == "bytes":
        return f"{value:,}"
    return f"{value:.3g}" if key in ("speedup", "compression", "ms") else figure(value)
