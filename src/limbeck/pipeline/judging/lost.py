"""report.json's `lost`: what the shipped student lost of its teacher, and which labels are in
doubt; with `label_errors.csv` in the run folder, for a person to go through.

Which rows and kinds of rows, `evaluation.lost` says; here they get the texts, words and thumbnails
by which a reader knows them.
"""

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from limbeck.analysis.changed_answers import spelled
from limbeck.core.files import write_bytes
from limbeck.data.same_inputs import is_first
from limbeck.evaluation.bootstrap import ALPHA
from limbeck.evaluation.by_row import of_rows
from limbeck.evaluation.lost.label_errors import Suspect, suspects
from limbeck.evaluation.lost.rows import (
    has_nats,
    has_right_rows,
    lost_rows,
    right_rows,
    wrong_units,
)
from limbeck.evaluation.lost.slices import drops, slices_of
from limbeck.pipeline.arm import Arm
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.judging.judged_rows import JudgedRows
from limbeck.sources import Row
from limbeck.tasks import Scored, SelfSupervised, Task
from limbeck.tasks.likelihood import is_known

# In the run folder.
LABEL_ERRORS = "label_errors.csv"
# Rows of each table of the report; the csv has every suspect.
MOST_SHOWN = 30
# Characters of a text that a table shows, and pixels of the longer side of a thumbnail.
MOST_CHARACTERS = 300
THUMBNAIL = 64


def describe_lost(
    run: RunContext, teacher: Arm, student: Arm, test: JudgedRows
) -> dict[str, Any] | None:
    """What the student lost, by rows and by kinds of rows; None for a task whose rows have no label
    of their own (pre-training, embeddings, ranking).

    Args:
        run: what the arms shared.
        teacher: its first seed.
        student: the first seed of the arm that is shipped.
        test: the rows that the verdict is about; copies among them are looked at once.
    """
    task = student.task
    if isinstance(task, SelfSupervised) or not has_nats(task, student.scored):
        return None
    chosen = test.kept & is_first(run.data.test, task)
    before, after = (of_rows(arm.scored, chosen) for arm in (teacher, student))
    numbers = np.flatnonzero(chosen).tolist()
    rows = [run.data.test[number] for number in numbers]
    clusters = None if test.clusters is None else test.clusters[chosen[test.kept]]
    # 1. Row by row.
    lost = lost_rows(task, before, after)
    shown = []
    for row in lost.worst[:MOST_SHOWN]:
        answers = answers_of(task, rows[row], row, before, after)
        shown.append({"row": numbers[row] + 1, **content_of(rows[row]), "answers": answers})
    told: dict[str, Any] = {
        "rows": len(rows),
        "lost": len(lost.worst),
        "won": lost.changes.won if lost.changes else None,
        "worst": shown,
        "slices": [],
        "slices_looked_at": 0,
    }
    # 2. By kinds of rows.
    if has_right_rows(task):
        slices = slices_of(rows, run.data.train)
        rated = drops(slices, right_rows(task, before), right_rows(task, after), clusters)
        told["slices"] = rated[:MOST_SHOWN]
        told["slices_looked_at"] = len(rated)
        told["slices_lost"] = sum(row["p_holm"] <= ALPHA for row in rated)
    # 3. Labels in doubt.
    doubted = labels_in_doubt(run, teacher, student)
    told["label_errors"] = {
        "count": len(doubted),
        "first": [told_suspect(task, run.data.test, each) for each in doubted[:MOST_SHOWN]],
    }
    return told


def labels_in_doubt(run: RunContext, teacher: Arm, student: Arm) -> list[Suspect]:
    """The labels in doubt among rows that train lacks: of those in train both models may have
    learned another row's label by heart. By the most probable labels: another answer that only
    costs less is no doubt."""
    new = np.flatnonzero(~run.known_from_train)
    believed = [arm.decided.most_probable for arm in (teacher, student)]
    both = [of_rows(scored, ~run.known_from_train) for scored in believed]
    found = suspects(student.task, *both)
    return [replace(each, row=int(new[each.row])) for each in found]


def write_label_errors(run: RunContext, teacher: Arm, student: Arm, folder: Path) -> None:
    """Write every label in doubt into the run folder; no file where there is none.

    The arguments are those of `describe_lost`.
    """
    # Row for row as the page has them, and in the same order.
    doubted = labels_in_doubt(run, teacher, student)
    told = [told_suspect(student.task, run.data.test, each) for each in doubted]
    if told:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(told[0]))
        writer.writeheader()
        writer.writerows(told)
        write_bytes(folder / LABEL_ERRORS, text.getvalue().encode())


def answers_of(
    task: Task, row: Row, number: int, teacher: Scored, student: Scored
) -> list[dict[str, Any]]:
    """The label and both answers of a row that was lost, at the units that matter; `number`: which
    of the rows that both answered it is."""
    units = range(int(teacher.offsets[number]), int(teacher.offsets[number + 1]))
    decided = {
        "given": teacher.labels,
        "teacher": task.decisions(teacher),
        "student": task.decisions(student),
    }
    # Of a sentence the words that the student gets wrong; any other row is one unit.
    wrong = wrong_units(task, student) if has_right_rows(task) else None
    answers = []
    for place, unit in enumerate(units):
        if wrong is not None and not wrong[unit]:
            continue
        # What a sentence has right is not shown: it may be long.
        answer = {key: in_words(task, of_units[unit]) for key, of_units in decided.items()}
        if "words" in row:
            answer["word"] = str(row["words"][place])
        answers.append(answer)
    return answers


def told_suspect(task: Task, rows: Sequence[Row], suspect: Suspect) -> dict[str, Any]:
    """A label in doubt: where it stands, what was given, what is likely, and how sure that is."""
    row = rows[suspect.row]
    content = content_of(row, pictures=False)
    if "words" in row:
        content = {"word": str(row["words"][suspect.unit]), **content}
    return {
        "row": suspect.row + 1,
        "given": task.labels[suspect.given],
        "likely": task.labels[suspect.likely],
        "teacher": round(suspect.teacher, 4),
        "student": round(suspect.student, 4),
        **content,
    }


def in_words(task: Task, decision: Any) -> str:
    """A label, an answer or a number for a reader; `unknown` for a label that nobody gave."""
    if np.ndim(decision) == 0 and not is_known(np.atleast_1d(decision)).all():
        return "unknown"
    return spelled(task, decision)


def content_of(row: Row, *, pictures: bool = True) -> dict[str, Any]:
    """What a reader knows a row by: its text, its file, a thumbnail of its image."""
    content: dict[str, Any] = {}
    # As a sentence, whatever stood between its words.
    if "words" in row:
        content["text"] = shortened(" ".join(map(str, row["words"])))
    for key in ("text", "text_b"):
        if key in row:
            content[key] = shortened(str(row[key]))
    if "file" in row:
        content["file"] = row["file"][1]
    if "image" in row and pictures:
        content["thumbnail"] = thumbnail(row["image"])
    return content


def shortened(text: str) -> str:
    """A text of one line, as much of it as a table takes."""
    line = " ".join(text.split())
    return line if len(line) <= MOST_CHARACTERS else f"{line[: MOST_CHARACTERS - 3]}..."


def thumbnail(pixels: np.ndarray) -> str:
    """A small PNG of an image (H, W) or (H, W, 3) of uint8, in base64."""
    image = Image.fromarray(pixels)
    # It keeps the proportions, and never enlarges.
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
