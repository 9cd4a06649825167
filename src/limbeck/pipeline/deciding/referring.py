"""reference.json: what the artifact answered to its validation rows, in counts, for whoever watches
whether later requests are like them (`evaluation/drift`).

Validation stopped the training and fitted the decision, which leaves shares of labels and lengths
as they are and makes confidence higher by what was learned of these rows: little, where a
temperature is all that is fitted.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from limbeck.artifact import manifest
from limbeck.artifact.proof import parity
from limbeck.core.files import read_json, write_json
from limbeck.evaluation.decisions import decision
from limbeck.evaluation.decisions.decision import Decision
from limbeck.evaluation.drift import reference
from limbeck.evaluation.drift.observing import observed
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.deciding.making import (
    HELD,
    SPLITS,
    first_runtime,
    has_decision,
    held_answers,
)
from limbeck.sources import Row
from limbeck.tasks import Encoded, OverVocabulary, Task
from limbeck.tasks.types import Answer


def write_reference(
    run: RunContext,
    task: Task,
    artifact: Path,
    work: Path,
) -> None:
    """Write reference.json into an artifact that is complete but for it.

    Args:
        run: what the arms share.
        task: with the student's preprocessing.
        artifact: whose decision is fitted.
        work: the stage's folder, which holds what the artifact answered to validation
            (`making.fit_decision`), or takes it where its answers are numbers.
    """
    # A row of masked tokens is several rows of the data, or a part of one.
    if isinstance(task, OverVocabulary):
        return
    answered = _answered(run, task, artifact, work)
    found = [observed(*each) for each in answered]
    # A rehearsal may have no row of validation.
    if not found:
        return
    counted = reference.reference_of(found, task.labels)
    write_json(artifact / reference.FILE, counted.to_json())
    manifest.write_again(artifact)


def _answered(
    run: RunContext,
    task: Task,
    artifact: Path,
    work: Path,
) -> Iterator[tuple[Row, Encoded | None, Answer]]:
    """Each validation row, what is read of it where that is tokens, and its answer."""
    has_answers = has_decision(task)
    if not has_answers and task.auto_model != "AutoModel":
        has_answers = True
        rows: list[Row] = []
        for split in SPLITS:
            rows += getattr(run.data, split)
        parity.answer_rows(artifact, first_runtime(artifact), rows, work / HELD)
    # Vectors say nothing that could be counted, and a user sends one text where validation may
    # have pairs.
    answers = _decoded(run, task, artifact, work) if has_answers else None
    # The half of a promise is empty where none is asked for, and cannot be encoded then.
    for split in filter(partial(getattr, run.data), SPLITS):
        encoded: Sequence[Encoded] | None = None
        if "input_ids" in task.input_names:
            encoded = run.encode(split, task)
        for place, row in enumerate(getattr(run.data, split)):
            read = None if encoded is None else encoded[place]
            answer = next(answers) if answers else {}
            yield row, read, answer


def _decoded(
    run: RunContext,
    task: Task,
    artifact: Path,
    work: Path,
) -> Iterator[Answer]:
    """What a user is answered to each validation row."""
    decides = Decision(likelihood=task.likelihood)
    if has_decision(task):
        content: Any = read_json(artifact / decision.FILE)
        decides = Decision.of(content, task)
    held = held_answers(run, task, work)
    for split, scored in held.items():
        ends = scored.offsets.tolist()
        rows: Sequence[Row] = getattr(run.data, split)
        for row, (start, end) in zip(rows, pairwise(ends), strict=True):
            logits = scored.logits[start:end]
            yield decides.answer(task, row, logits)
