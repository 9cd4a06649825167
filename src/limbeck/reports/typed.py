"""report.json with attributes: `report.verdict.kept` beside `report["verdict"]["kept"]`.

The dict is what report.json holds, unchanged; the attributes are read from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, TypeVar

from limbeck.artifact.predictions import data_frame
from limbeck.core.files import read_json
from limbeck.core.foreign import told_as
from limbeck.core.terminal.shell import quoted
from limbeck.reports import tables
from limbeck.reports.arms import arm_rows
from limbeck.reports.earlier import as_today, unreadable
from limbeck.reports.numbers import decimal
from limbeck.reports.outcome import sentence

Figures = TypeVar("Figures")
Bounds = list[float]

REPORT = "report.json"


@dataclass(frozen=True)
class ArmReport:
    """An arm. `mean`, `ci95`: each metric over the seeds, and its interval; None where the test
    split leaves it undefined. `bytes` and `latency_ms` (p50 and p99 of one row): None of the linear
    model, which is not handed out. `agreement`: the share of
    decisions that are the teacher's."""

    mean: dict[str, float | None]
    ci95: dict[str, Bounds | None]
    seeds: list[dict[str, Any]]
    parameters: int
    bytes: int | None
    latency_ms: dict[str, Any] | None
    agreement: float | None


@dataclass(frozen=True)
class VerdictReport:
    """Whether the student is kept, and why not. `notes`: what is odd and no reason against it;
    `bars`: what it must beat (one answer for every row, a linear model), and by how much it does,
    each with `name`, `words`, `level`, `lead`, `lead_ci95`, `is_beaten`.
    `drop`: the teacher's metric less the student's.
    `gains`: what helped, each with `name` (`teacher`, `answers`, `joint`), `arm`, `control`,
    `gain`, `ci95`, `at_chance` and `seeds` (of one, it holds for these weights); only those whose
    two arms were run."""

    kept: bool
    reasons: list[str]
    notes: list[str]
    bars: list[dict[str, Any]]
    drop: float
    drop_ci95: Bounds
    max_drop: float
    p_noninferior: float
    speedup: float
    compression: float
    gains: list[dict[str, Any]]


@dataclass(frozen=True)
class ParityReport:
    """Whether an exported graph decides as the trained model: `flips` of `units` differ."""

    arm: str
    seed: int
    runtime: str
    units: int
    flips: int
    agreement: float
    metric_difference: float
    holds: bool


class Report(dict[str, Any]):
    """The content of report.json, whose main figures are attributes too."""

    def __repr__(self) -> str:
        verdict = self.verdict
        outcome = "no verdict"
        if verdict:
            outcome = "KEPT" if verdict.kept else "NOT KEPT"
        return f"<limbeck report {self.name}: {self.task}, {', '.join(self.arms)}; {outcome}>"

    @property
    def name(self) -> str:
        """Its title."""
        return str(self["name"])

    @property
    def task(self) -> str:
        """The task, as a recipe names it."""
        return str(self["task"])

    @property
    def metric(self) -> str:
        """The metric that the verdict is about."""
        return str(self["metric"]["name"])

    @property
    def arms(self) -> dict[str, ArmReport]:
        """The figures of each arm, the teacher's among them, by its name."""
        return {name: picked(ArmReport, arm) for name, arm in self["arms"].items()}

    @property
    def verdict(self) -> VerdictReport | None:
        """What was judged; None for a recipe without a verdict."""
        verdict = self["verdict"]
        return picked(VerdictReport, verdict) if verdict else None

    @property
    def calibration(self) -> dict[str, Any] | None:
        """How the artifact decides, and whether its probabilities are true shares: `temperature`,
        `bias`, `models` (`float`, `raw`, `fitted`, `kept`: each `ece`, `ece_ci95`, `perfect_p95`,
        `nll_nats`, `bins`), `promise`, `sets`, `shift`, `answers`, `coverage`, `cascade`; None
        where it answers with no labels, or there is none."""
        return self.get("calibration")

    @property
    def kept(self) -> bool | None:
        """Whether the student is kept; None without a verdict."""
        return self.verdict.kept if self.verdict else None

    @property
    def parity(self) -> list[ParityReport]:
        """A row for every exported graph."""
        return [picked(ParityReport, row) for row in self["parity"]]

    @property
    def notes(self) -> list[str]:
        """What the run warns of."""
        return list(self["notes"])

    @property
    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Every table of the page as plain rows, by name: `arms`, `seeds`, `labels`, `confusion`,
        `gains`, `parity`, `stages`, `layers`, `changed_rows`, `lost_kinds`, `writing`,
        `written_answers`, `calibration`."""
        return tables.tables(self)

    def to_dataframe(self, table: str = "arms") -> Any:
        """A table as a pandas DataFrame.

        Raises:
            ValueError: the report has no table of this name.
            ModuleNotFoundError: pandas is not installed.
        """
        found = self.tables
        if table not in found:
            raise ValueError(
                f"this report has no table `{table}`. It has {', '.join(sorted(found))}"
            )
        return data_frame(found[table], "Report.to_dataframe")

    def _repr_html_(self) -> str:
        """What a notebook shows: the outcome in a sentence, and the table of arms."""
        head = "".join(f"<th>{title}</th>" for title in ("arm", self.metric, *SHOWN.values()))
        body = []
        for row in arm_rows(self):
            cells = [decimal(row["mean"]), *(cell(row[key]) for key in SHOWN)]
            values = "".join(f"<td>{value}</td>" for value in cells)
            body.append(f"<tr><th>{escape(row['name'])}</th>{values}</tr>")
        # Titles and labels are the user's text.
        said = f"<p><b>{escape(self.name)}</b>: {escape(sentence(self))}</p>"
        return f"{said}<table><tr>{head}</tr>{''.join(body)}</table>"


# Columns of the table that a notebook shows, by the key of a row.
SHOWN = {"interval": "95 % interval", "bytes": "bytes", "ms": "ms"}


def cell(value: float | str | None) -> str:
    """A value of that table: bytes in groups of three digits, milliseconds as they are."""
    if value is None or value == "":
        return "-"
    return value if isinstance(value, str) else f"{value:,}"


def picked(kind: type[Figures], content: Mapping[str, Any]) -> Figures:
    """The dataclass `kind` from the keys that it names; a key that is not there is None."""
    values = [content.get(each.name) for each in fields(kind)]  # type: ignore[arg-type]
    return kind(*values)


def read_report(folder: str | Path) -> Report:
    """The report of a finished run, by its folder or its report.json. Raises ValueError where there
    is none."""
    path = Path(folder)
    if path.name != REPORT or not path.is_file():
        path = figures_of(path)
    with told_as(partial(unreadable, str(path))):
        return Report(as_today(read_json(path)))


def figures_of(folder: Path) -> Path:
    """The report.json of a run's folder. Raises ValueError where there is none."""
    path = folder / REPORT
    if not path.is_file():
        raise ValueError(
            f"{folder}: no report.json here. `limbeck run RECIPE --out {quoted(folder)}` writes one"
        )
    return path
