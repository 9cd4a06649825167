"""report.json's `lost`: what the shipped student lost of its teacher, and which labels are in
doubt; with `changed_answers.csv` and `label_errors.csv` in the run folder, for a person to go
through.

Which rows and kinds of rows, `evaluation.lost` says; `changed.py` tells of single rows.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.core.files import write_csv
from limbeck.evaluation.bootstrap import ALPHA
from limbeck.evaluation.by_row import of_rows
from limbeck.evaluation.lost.label_errors import Suspect, suspects
from limbeck.evaluation.lost.rows import changed_rows, has_right_rows, right_rows
from limbeck.evaluation.lost.slices import drops, slices_of
from limbeck.pipeline.arm import Arm
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.judging.changed import (
    Answered,
    answered,
    changed_lines,
    content_of,
    told_rows,
    word_of,
)
from limbeck.pipeline.judging.judged_rows import JudgedRows, judged_rows
from limbeck.sources import Row
from limbeck.tasks import Task

# In the run folder: all of what the report's tables begin with.
CHANGED_ANSWERS = "changed_answers.csv"
LABEL_ERRORS = "label_errors.csv"
# Rows of each table of the report.
MOST_SHOWN = 30
# Of the rows that are answered otherwise, of each kind: with thumbnails 2 MB of a page at most.
MOST_CHANGED = 250


def describe_lost(
    run: RunContext,
    teacher: Arm,
    student: Arm,
    test: JudgedRows,
    *,
    has_kinds: bool = True,
) -> dict[str, Any] | None:
    """What the student lost, by rows and by kinds of rows; None for a task whose rows have no label
    of their own (pre-training, embeddings, ranking).

    Args:
        run: what the arms shared.
        teacher: its first seed.
        student: the first seed of the arm that is shipped.
        test: the rows that the verdict is about; copies among them are looked at once.
        has_kinds: whether kinds of rows are looked at, too.
    """
    both = answered(run, teacher, student, test)
    if both is None:
        return None
    # 1. Row by row.
    changed = changed_rows(both.task, both.teacher, both.student)
    told: dict[str, Any] = {
        "rows": len(both.rows),
        "lost": len(changed.teacher),
        # Of numbers nothing is right, and a row that is met better is not won.
        "won": changed.changes.won if changed.changes else None,
        "neither": len(changed.neither) if changed.changes else None,
        "changed": told_rows(both, changed, MOST_CHANGED),
        "slices": [],
        "slices_looked_at": 0,
    }
    # 2. By kinds of rows.
    if has_kinds and has_right_rows(both.task):
        rated = rated_slices(run, both)
        told["slices"] = rated[:MOST_SHOWN]
        told["slices_looked_at"] = len(rated)
        told["slices_lost"] = sum(row["p_holm"] <= ALPHA for row in rated)
    # 3. Labels in doubt.
    doubted = labels_in_doubt(run, teacher, student)
    told["label_errors"] = {
        "count": len(doubted),
        "first": [
            told_suspect(both.task, run.data.test, each, pictures=True)
            for each in doubted[:MOST_SHOWN]
        ],
    }
    return told


def rated_slices(run: RunContext, both: Answered) -> list[dict[str, Any]]:
    """What the student lost on each kind of rows, the surest drop first."""
    slices = slices_of(both.rows, run.data.train)
    before = right_rows(both.task, both.teacher)
    after = right_rows(both.task, both.student)
    return drops(slices, before, after, both.clusters)


def labels_in_doubt(run: RunContext, teacher: Arm, student: Arm) -> list[Suspect]:
    """The labels in doubt among rows that train lacks: of those in train both models may have
    learned another row's label by heart. By the most probable labels: another answer that only
    costs less is no doubt. A label that train has nowhere is not doubted for that no model could
    answer it."""
    new = np.flatnonzero(~run.known_from_train)
    believed = [arm.decided.most_probable for arm in (teacher, student)]
    both = [of_rows(scored, ~run.known_from_train) for scored in believed]
    task = student.task
    found = suspects(task, *both)
    return [
        replace(each, row=int(new[each.row]))
        for each in found
        if task.labels[each.given] in run.labels_of_train
    ]


def write_rows(run: RunContext, teacher: Arm, student: Arm, folder: Path) -> None:
    """Write every changed answer and every label in doubt into the run folder; no file where there
    is none.

    The arguments are those of `describe_lost`.
    """
    changed = changed_lines(answered(run, teacher, student, judged_rows(run, student.task)))
    if changed:
        write_csv(folder / CHANGED_ANSWERS, changed)
    # Row for row as the page has them, and in the same order.
    doubted = labels_in_doubt(run, teacher, student)
    told = [told_suspect(student.task, run.data.test, each) for each in doubted]
    if told:
        write_csv(folder / LABEL_ERRORS, told)


def told_suspect(
    task: Task,
    rows: Sequence[Row],
    suspect: Suspect,
    *,
    pictures: bool = False,
) -> dict[str, Any]:
    """A label in doubt: where it stands, what was given, what is likely, and how sure that is."""
    row = rows[suspect.row]
    content = content_of(row, pictures=pictures)
    return {
        "row": suspect.row + 1,
        "given": task.labels[suspect.given],
        "likely": task.labels[suspect.likely],
        "teacher": round(suspect.teacher, 4),
        "student": round(suspect.student, 4),
        **word_of(row, suspect.unit),
        **content,
    }
