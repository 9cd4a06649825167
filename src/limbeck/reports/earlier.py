"""Reports of earlier versions, read as those of this one are (schema 2).

The first of schema 2 had the rows that were lost alone (`worst`).

Schema 1 had two gains under keys of their own. Its arm `plain` learned from labels alone, and began
with the tuned teacher's layers where the student was cut from the teacher: what `kd` had over it
there is what the teacher's answers gave, and is told so.
"""

from typing import Any

from limbeck.core import yaml12
from limbeck.recipe.model import TEACHER

Json = dict[str, Any]

SCHEMA = 2  # of report.json


def as_today(report: Json) -> Json:
    """A report as schema 2 has it today.

    Raises ValueError for any other schema.
    """
    report = with_changed_rows(report)
    if report["schema"] == SCHEMA:
        return report
    if report["schema"] != 1:
        raise ValueError(
            f"report: schema {report['schema']!r} was found, this version reads 1 and {SCHEMA}. "
            "Run `limbeck run` again"
        )
    verdict = report["verdict"]
    if verdict is not None:
        verdict = verdict | {"gains": gains(verdict, is_cut=starts_from_teacher(report))}
    return report | {"schema": SCHEMA, "verdict": verdict}


def with_changed_rows(report: Json) -> Json:
    """A report whose rows that were lost are told as changed rows; they were all that it had."""
    lost = report.get("lost")
    if not lost or "changed" in lost:
        return report
    changed = [row | {"right": "teacher"} for row in lost["worst"]]
    # How many rows neither had right, and each otherwise, nobody counted.
    return report | {"lost": lost | {"changed": changed, "neither": None}}


def starts_from_teacher(report: Json) -> bool:
    """Whether the student was cut from the tuned teacher."""
    _, recipe = yaml12.load(report.get("recipe") or "", "recipe")
    student = recipe.get("student") if isinstance(recipe, dict) else None
    return isinstance(student, dict) and student.get("from") == TEACHER


def gains(verdict: Json, *, is_cut: bool) -> list[Json]:
    """The gains of a verdict of schema 1; `is_cut`: whether `plain` began with the teacher's
    layers."""
    compared = {
        "kd": ("answers" if is_cut else "teacher", "kd", "plain"),
        "joint": ("joint", "joint", "kd+ptq"),
    }
    found = []
    for key, (name, arm, control) in compared.items():
        gain, ends = verdict.get(f"{key}_gain"), verdict.get(f"{key}_gain_ci95")
        if gain is None or not ends:
            continue
        row = {"name": name, "arm": arm, "control": control}
        found.append({**row, "gain": gain, "ci95": ends, "at_chance": False})
    return found


def unreadable(place: str, reason: str) -> ValueError:
    """The error of a report that is none, in part or as a whole. `place`: its file, or those of
    which it is one."""
    return ValueError(
        f"{place}: no report of limbeck, or not a whole one ({reason}). Run the recipe again"
    )
