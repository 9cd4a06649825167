"""What an artifact scores on labelled rows: the metrics, intervals and report by label of a run's
verdict (`limbeck.evaluation`), by the artifact alone.

A label that the artifact does not have can never be answered. It stands beside the artifact's own
in the report, and its rows count as errors.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, cast

import numpy as np

from limbeck.artifact.predictor import SORTED_BATCHES, Predictor
from limbeck.core.wording import some
from limbeck.evaluation.by_row import any_by_row, is_wrong
from limbeck.evaluation.chance import best_constant_answer
from limbeck.evaluation.compare import Judged
from limbeck.evaluation.scores import told_quality
from limbeck.sources import Row
from limbeck.tasks import Encoded, OverVocabulary, Scored, Task
from limbeck.tasks.joined import JoinedTask
from limbeck.tasks.likelihood import is_known

# What a logit is for a label that the artifact does not have: a probability of 0.
NEVER = -1e4


def evaluate(
    predictor: Predictor,
    rows: Iterable[Row],
    unknown: Mapping[str, int],
    *,
    batch_size: int = 1,
) -> dict[str, Any]:
    """The figures of an artifact on labelled rows, ready for JSON.

    rows: with their labels; read once. unknown: label -> units that have it, of the labels that the
        artifact does not have; it is read after the rows.

    Returns `rows`, `units`, `metric` (the task's first), `metrics`, `ci95`, `chance` (of the best
    answer that is the same for every row), `unknown_labels`, and the task's details: `per_label`
    and `confusion`, where there are labels; where the artifact may abstain, `answered`: the share
    of the rows that it answers, and the share of these that are wrong.

    Raises ValueError where there is no row, no label of the artifact in any, or the task makes its
    own labels.
    """
    task = predictor.task
    if isinstance(task, OverVocabulary):
        raise ValueError(f"{predictor}: its labels are hidden words of the text, no rows have any")
    logits: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    plain: list[Row] = []
    inputs: dict[int, int] = {}
    clusters: list[int] = []
    remaining = iter(rows)
    while part := list(islice(remaining, batch_size * SORTED_BATCHES)):
        encoded = [predictor.encoded(row) for row in part]
        logits += predictor.batch_logits(encoded, batch_size)
        # The windows of a long text have its one label each, and one answer together.
        labels += [row.labels[:1] if row.windows else row.labels for row in encoded]
        plain += [_without_input(row) for row in part]
        # Equal inputs have one number: a row that stands twenty times is no twenty proofs.
        clusters += [inputs.setdefault(_hash_of(row), len(inputs)) for row in encoded]
    if not logits:
        raise ValueError("no row to evaluate: every one is bad, or there is none")
    if unknown:
        widened = _widened(task, sorted(unknown))
        task = cast(Task, widened)
        labels = [widened.head.targets(row) for row in plain]
        refuse_foreign(np.concatenate(labels), predictor.labels, unknown)
    lengths = [len(row) for row in labels]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    # Its own labels' alone, by which it decides; those of the file stand behind them.
    own = np.concatenate(logits)
    scored = as_answered(predictor, Scored(own, np.concatenate(labels), offsets), len(unknown))
    figures = figures_of(scored, task, np.array(clusters))
    threshold = predictor.decision.threshold
    if threshold is not None:
        confidence = predictor.decision.confidence(own, offsets)
        figures["answered"] = answered_part(scored, task, confidence >= threshold)
    return figures | {"unknown_labels": dict(sorted(unknown.items()))}


def refuse_foreign(labels: np.ndarray, own: Sequence[str], unknown: Mapping[str, int]) -> None:
    """Raise ValueError for a file without a single label of the artifact.

    labels: (P) or (P, V) of its own, `own`, and of those behind them that it lacks.
    """
    # Of several labels each has a column; of one its index stands for it.
    if labels.ndim > 1:
        labels = labels[:, : len(own)]
        has_own = is_known(labels) & (labels > 0)
    else:
        has_own = is_known(labels) & (labels < len(own))
    if has_own.any():
        return
    raise ValueError(
        f"no row has a label of the artifact ({some(own)}); the file has {some(list(unknown))}. "
        "It is of other data, or its labels stand in another column, which --label COLUMN names"
    )


def as_answered(predictor: Predictor, scored: Scored, num_unknown: int) -> Scored:
    """What the artifact answers, by its own logits, beside labels that it never answers."""
    given = predictor.decision.scored(scored)
    if not num_unknown:
        return given
    decided = given.decided
    # Of several labels each has a column of decisions; of one label an index, which stays.
    if decided is not None and decided.ndim > 1:
        decided = np.pad(decided, ((0, 0), (0, num_unknown)))
    return replace(given, logits=_padded(given.logits, num_unknown), decided=decided)


def answered_part(scored: Scored, task: Task, is_answered: np.ndarray) -> dict[str, Any]:
    """Which share of the labelled rows is answered, and which of these is wrong in any decision;
    is_answered: (N)."""
    # As `Decision.judged`, but of answers beside labels that the artifact does not have.
    known = any_by_row(is_known(scored.labels), scored.offsets)
    wrong = is_wrong(task.decisions(scored), scored.labels)
    counted = known & is_answered
    errors = int((any_by_row(wrong, scored.offsets) & counted).sum())
    num_answered = int(counted.sum())
    return {
        "rows": num_answered,
        "coverage": num_answered / max(1, int(known.sum())),
        "errors": errors,
        "error": errors / num_answered if num_answered else None,
    }


def figures_of(scored: Scored, task: Task, clusters: np.ndarray) -> dict[str, Any]:
    """Every figure of answers on a split, ready for JSON; None where one is undefined there.

    clusters: (N) as of `influences`: rows of one number count once in the intervals.
    """
    constant = best_constant_answer(scored, task, task.metric)
    return {
        "rows": len(scored.offsets) - 1,
        "units": len(scored.labels),
        "metric": task.metric,
        "metrics": told_quality(scored, task),
        "ci95": Judged([scored], task, clusters).intervals(),
        "chance": told_quality(constant, task)[task.metric],
        **task.details(scored),
    }


def _hash_of(row: Encoded) -> int:
    """The same for rows that are the same to the model."""
    return hash(tuple((name, value.tobytes()) for name, value in row.inputs.items()))


def _without_input(row: Row) -> Row:
    """What a head reads of a row: without its image, of which a file may hold any number."""
    return {name: value for name, value in row.items() if name != "image"}


def _widened(task: Task, unknown: list[str]) -> JoinedTask:
    """The task with more labels behind its own. Raises ValueError for one of another kind."""
    if not isinstance(task, JoinedTask):
        raise ValueError(
            f"labels that the artifact does not have: {', '.join(unknown[:12])}. Remove their rows"
        )
    return type(task)([*task.labels, *unknown], task.preprocess)


def _padded(logits: np.ndarray, count: int) -> np.ndarray:
    """Logits (W, V) with `count` more labels, which are never answered."""
    return np.pad(logits, ((0, 0), (0, count)), constant_values=NEVER)
