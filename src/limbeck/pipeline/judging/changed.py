"""The rows that the shipped student answers otherwise than its teacher, as a person reads them:
with the label, both answers, who is right, and the text, the words or a thumbnail of each.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from limbeck.analysis.changed_answers import spelled
from limbeck.data.same_inputs import is_first
from limbeck.evaluation.by_row import of_rows
from limbeck.evaluation.lost.rows import (
    ChangedRows,
    changed_rows,
    changed_units,
    has_nats,
    has_right_rows,
)
from limbeck.pipeline.arm import Arm
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.judging.judged_rows import JudgedRows
from limbeck.reports import tables
from limbeck.sources import Row
from limbeck.tasks import OverVocabulary, Scored, Task
from limbeck.tasks.likelihood import is_known

# Characters of a text that a table shows, and pixels of the longer side of a thumbnail.
MOST_CHARACTERS = 300
THUMBNAIL = 64


@dataclass(frozen=True)
class Answered:
    """Test rows with the answers of both models.

    `rows`: N rows, each input once. `numbers`: (N) which rows of the test split they are, from 0.
    `clusters`: (N) a number for each row, the same for rows that count as one; None: each by
    itself.
    """

    task: Task
    rows: Sequence[Row]
    numbers: list[int]
    teacher: Scored
    student: Scored
    clusters: np.ndarray | None


def answered(run: RunContext, teacher: Arm, student: Arm, test: JudgedRows) -> Answered | None:
    """The rows that are compared; None for a task whose rows have no label of their own. The
    arguments are those of `describe_lost`."""
    task = student.task
    if isinstance(task, OverVocabulary) or not has_nats(task, student.scored):
        return None
    # Copies of a row would fill the table with one mistake.
    chosen = test.kept & is_first(run.data.test, task)
    numbers = np.flatnonzero(chosen).tolist()
    return Answered(
        task=task,
        rows=[run.data.test[number] for number in numbers],
        numbers=numbers,
        teacher=of_rows(teacher.scored, chosen),
        student=of_rows(student.scored, chosen),
        clusters=None if test.clusters is None else test.clusters[chosen[test.kept]],
    )


def told_rows(
    both: Answered,
    changed: ChangedRows,
    most: int | None = None,
    *,
    pictures: bool = True,
) -> list[dict[str, Any]]:
    """The changed rows as report.json has them: those lost, those won, those of which neither
    answer is right; `most` of each at most (None: all)."""
    rows_by_right = {
        "teacher": changed.teacher,
        "student": changed.student,
        "neither": changed.neither,
    }
    # 1. Of a sentence only the words whose tag changed: it may be long. A number is one unit.
    task = both.task
    shown = np.ones(len(both.teacher.labels), bool)
    if has_right_rows(task):
        shown = changed_units(task, both.teacher, both.student)
    # 2. Made once for all rows: an answer may cost a search over every label.
    decided = {
        "given": both.teacher.labels,
        "teacher": task.decisions(both.teacher),
        "student": task.decisions(both.student),
    }
    # 3. Row by row.
    told = []
    for right, rows in rows_by_right.items():
        for row in rows[:most]:
            first, last = map(int, both.teacher.offsets[row : row + 2])
            answers = []
            for unit in range(first, last):
                if shown[unit]:
                    names = {key: names_of(task, each[unit]) for key, each in decided.items()}
                    word = word_of(both.rows[row], unit - first)
                    answers.append(word | names)
            # Rows count from 1, as the lines of a reader's file do.
            line = {
                "row": both.numbers[row] + 1,
                "right": right,
                **content_of(both.rows[row], pictures=pictures),
                "answers": answers,
            }
            told.append(line)
    return told


def word_of(row: Row, place: int) -> dict[str, str | list[str]]:
    """The `word` of a sentence at a place; nothing of any other row."""
    return {"word": str(row["words"][place])} if "words" in row else {}


def changed_lines(both: Answered | None) -> list[dict[str, Any]]:
    """Every changed answer as a line of a csv file."""
    if both is None:
        return []
    changed = changed_rows(both.task, both.teacher, both.student)
    lines = []
    # A spreadsheet shows no picture, and the file's name is there.
    for row in told_rows(both, changed, pictures=False):
        lines += tables.changed_lines(row)
    return lines


def names_of(task: Task, decision: Any) -> str | list[str]:
    """A label, an answer or a number for a reader, of several labels a list; `unknown` for a label
    that nobody gave."""
    if np.ndim(decision):
        # A list, for a name may hold a comma itself.
        pairs = zip(task.labels, decision > 0, strict=True)
        return [label for label, is_on in pairs if is_on]
    if not is_known(np.atleast_1d(decision)).all():
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
    """A small PNG or JPEG of an image (H, W) or (H, W, 3) of uint8, in base64."""
    image = Image.fromarray(pixels)
    # It keeps the proportions, and never enlarges.
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    # A photograph is five times smaller as a JPEG, a drawing of few levels as a PNG.
    smallest = min((encoded(image, each) for each in ("PNG", "JPEG")), key=len)
    return base64.b64encode(smallest).decode()


def encoded(image: Image.Image, file_format: str) -> bytes:
    """An image as a file of a format."""
    file = io.BytesIO()
    image.save(file, file_format)
    return file.getvalue()
