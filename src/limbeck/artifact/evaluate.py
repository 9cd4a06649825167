"""What an artifact scores on labelled rows: the metrics, intervals and report by label of a run's
verdict (`limbeck.evaluation`), by the artifact alone.

A label that the artifact does not have can never be answered. It stands beside the artifact's own
in the report, and its rows count as errors.
"""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, cast

import numpy as np

from limbeck.artifact.predictor import SORTED_BATCHES, Predictor
from limbeck.evaluation.bootstrap import resample_in_parts, resampled_metrics, told_interval
from limbeck.evaluation.chance import best_constant_answer
from limbeck.evaluation.scores import told_quality
from limbeck.sources import Row
from limbeck.tasks import Scored, SelfSupervised, Task
from limbeck.tasks.joined import JoinedTask

# What a logit is for a label that the artifact does not have: a probability of 0.
NEVER = -1e4
# Numbers that the resamples of one part hold: 160 MB.
MOST_NUMBERS = 20_000_000


def evaluate(
    predictor: Predictor,
    rows: Iterable[Row],
    unknown: Mapping[str, int],
    *,
    batch_size: int = 1,
    resamples: int = 2000,
) -> dict[str, Any]:
    """The figures of an artifact on labelled rows, ready for JSON.

    rows: with their labels; read once. unknown: label -> units that have it, of the labels that the
        artifact does not have; it is read after the rows.

    Returns `rows`, `units`, `metric` (the task's first), `metrics`, `ci95`, `chance` (of the best
    answer that is the same for every row), `unknown_labels`, and the task's details: `per_label`
    and `confusion`, where there are labels.

    Raises ValueError where there is no row, or the task makes its own labels.
    """
    task = predictor.task
    if isinstance(task, SelfSupervised):
        raise ValueError(f"{predictor}: its labels are hidden words of the text, no rows have any")
    logits: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    plain: list[Row] = []
    remaining = iter(rows)
    while part := list(islice(remaining, batch_size * SORTED_BATCHES)):
        encoded = [predictor.encoded(row) for row in part]
        logits += predictor.batch_logits(encoded, batch_size)
        # The windows of a long text have its one label each, and one answer together.
        labels += [row.labels[:1] if row.windows else row.labels for row in encoded]
        plain += [_without_input(row) for row in part]
    if not logits:
        raise ValueError("no row to evaluate: every one is bad, or there is none")
    if unknown:
        widened = _widened(task, sorted(unknown))
        task = cast(Task, widened)
        labels = [widened.head.targets(row) for row in plain]
        logits = [_padded(row, len(unknown)) for row in logits]
    lengths = [len(row) for row in labels]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    scored = Scored(np.concatenate(logits), np.concatenate(labels), offsets)
    return figures_of(scored, task, resamples) | {"unknown_labels": dict(sorted(unknown.items()))}


def figures_of(scored: Scored, task: Task, resamples: int) -> dict[str, Any]:
    """Every figure of answers on a split, ready for JSON; None where one is undefined there."""
    num_rows = len(scored.offsets) - 1
    parts: dict[str, list[np.ndarray]] = {}
    at_once = max(1, min(resamples, MOST_NUMBERS // num_rows))
    for weights in resample_in_parts(num_rows, resamples, at_once):
        for name, values in resampled_metrics([scored], weights, task).items():
            parts.setdefault(name, []).append(values)
    constant = best_constant_answer(scored, task, task.metric)
    metrics = told_quality(scored, task)
    ends = {name: told_interval(np.concatenate(values)) for name, values in parts.items()}
    return {
        "rows": num_rows,
        "units": len(scored.labels),
        "metric": task.metric,
        "metrics": metrics,
        "ci95": {name: None if metrics[name] is None else ends[name] for name in metrics},
        "chance": told_quality(constant, task)[task.metric],
        **task.details(scored),
    }


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
