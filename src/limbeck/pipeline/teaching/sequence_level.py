"""The arm's rows with the teacher's answers, as a stage of the store (`distill.sequence_level`).

Answers are kept in files of a few rows, so that a killed run goes on from the last of them to the
same bytes. They belong to the arms that are distilled: those that learn from the data's answers
alone, the controls, have nothing of the teacher in them.
"""

import json
from collections.abc import Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.core.cache import entries
from limbeck.core.events import track
from limbeck.core.files import digest, write_bytes
from limbeck.data.splits import Splits
from limbeck.distillation.teacher_answers import Counts, Writer
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.stage import Stage, Work
from limbeck.pipeline.stored_model import StoredModel
from limbeck.pipeline.teaching.decoding import decoding_of
from limbeck.recipe.model import Recipe, SequenceLevel
from limbeck.sources import Row

# Rows in one file: what a kill loses at most.
ROWS_OF_FILE = 64


def with_teacher_answers(
    recipe: Recipe, run: RunContext, teacher: StoredModel | None
) -> RunContext:
    """The run as an arm sees it that learns the teacher's answers; `run` itself for any other.

    Args:
        recipe: the arm's.
        run: what the arms share.
        teacher: the recipe's, ready to be asked.

    Raises:
        ValueError: rows that have no answers, or a teacher that cannot write any.
    """
    settings = recipe.distill.sequence_level if recipe.distill else None
    if settings is None or run.is_answered:
        return run
    assert teacher is not None  # which `distill` needs
    folder = run.compute(_stage(settings, run, teacher))
    if folder not in run.answered:
        data, note = answered_splits(run.data, folder, asked_rows(run.data, settings))
        run.answered[folder] = replace(
            run,
            encodings={},
            fingerprints={},
            token_notes={},
            answered={},
            answer_notes=[note],
            is_answered=True,
        )
        run.answered[folder].data = data
        # Opened once: it tells what it is.
        run.answered[folder].place = run.place
    return run.answered[folder]


def _stage(settings: SequenceLevel, run: RunContext, teacher: StoredModel) -> Stage:
    """The teacher's answers to the rows that are asked."""
    data = run.data

    def build(folder: Path) -> None:
        numbers = asked_rows(data, settings)
        # Loaded here, and not where the answers are found.
        writer = _writer(settings, run, teacher)
        starts = range(0, len(numbers), ROWS_OF_FILE)
        for start in track(starts, lambda start: 1.0, run.store.tell):
            path = folder / f"rows-{start:08}.jsonl"
            # A kill leaves the files before the one that it met; who alters them is seen.
            if entries.is_kept(path):
                continue
            chunk = numbers[start : start + ROWS_OF_FILE]
            rows = [data.train[number] for number in chunk]
            lines: list[str] = []
            for row, counts in writer.answered(rows, start):
                messages = row["messages"] if row else None
                line = {"messages": messages, "counts": astuple(counts)}
                lines.append(json.dumps(line, ensure_ascii=False) + "\n")
            write_bytes(path, "".join(lines).encode())
            entries.keep(path)

    inputs: dict[str, Any] = {
        # The weights themselves: a teacher that was tuned anew to the same ones answers alike.
        "teacher": teacher.content(),
        "model": run.code_reference(teacher.name),
        "preprocess": digest(teacher.task.preprocess),
        "data": run.fingerprint("train"),
        "num_unlabelled": data.num_unlabelled,
        "answers": settings.model_dump(mode="json"),
        "task": run.recipe.task,
        "dtype": str(run.dtype()),
        **run.environment(),
    }
    return Stage(
        name="answers",
        inputs=inputs,
        build=build,
        components=[*run.task_component, *run.model_components(teacher.name)],
        title="answers of the teacher",
        work=Work(split="train", task=teacher.task, once=teacher.load),
    )


def _writer(settings: SequenceLevel, run: RunContext, teacher: StoredModel) -> Writer:
    """The teacher on the run's device, ready to write."""
    reads = teacher.task.input
    decoding = decoding_of(settings, reads, teacher.name, run.dtype())
    model = run.place.move_model(teacher.load().eval())
    return Writer(model, reads, decoding, settings.seed)


def asked_rows(data: Splits, settings: SequenceLevel) -> list[int]:
    """The numbers of the rows of train whose answers the teacher writes, rising: the recipe's share
    of those with answers, drawn by its seed, and all those without."""
    num_labelled = len(data.labelled)
    generator = np.random.Generator(np.random.PCG64(settings.seed))
    drawn = generator.permutation(num_labelled)[: round(settings.share * num_labelled)]
    return [*sorted(drawn.tolist()), *range(num_labelled, len(data.train))]


def answered_splits(data: Splits, folder: Path, numbers: Sequence[int]) -> tuple[Splits, str]:
    """The splits with the answers of a stage's folder, and a note of what they are."""
    train: list[Row | None] = list(data.train)
    counts = Counts()
    lines = read_lines(folder)
    for number, line in zip(numbers, lines, strict=True):
        counts += Counts(*line["counts"])
        messages = line["messages"]
        train[number] = data.train[number] | {"messages": messages} if messages else None
    kept = [row for row in train if row is not None]
    num_left_out = len(train) - len(kept)
    note = described(counts, len(numbers), num_left_out)
    # Every row has an answer now.
    return replace(data, train=kept, num_unlabelled=0, notes=[*data.notes, note]), note


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """What the stage wrote, in order."""
    lines: list[dict[str, Any]] = []
    for path in sorted(folder.glob("rows-*.jsonl")):
        text = path.read_text(encoding="utf-8")
        # Not `splitlines`: a text may hold other characters that it takes for the end of a line.
        lines += [json.loads(line) for line in text.split("\n") if line]
    return lines


def described(counts: Counts, num_rows: int, num_left_out: int) -> str:
    """What became of the teacher's answers, in a line of the report."""
    told = [
        f"answers of the teacher: {counts.learned:,} of {counts.asked:,} are learned, "
        f"in {num_rows:,} rows"
    ]
    if counts.runaway:
        told.append(
            f"{counts.runaway:,} did not end within distill.sequence_level.max_new_tokens, or the "
            "model's context"
        )
    if counts.empty:
        told.append(f"{counts.empty:,} were empty")
    if counts.runaway or counts.empty:
        told.append("where the data has an answer, it stays in their place")
    if num_left_out:
        told.append(f"{num_left_out:,} rows without an answer are left out")
    if counts.shortened:
        told.append(
            f"of {counts.shortened:,} the dialogue before was longer than train.max_tokens leaves "
            "room for, and its end was read"
        )
    line = "; ".join(told)
    return line if counts.learned else f"warning: {line}"
