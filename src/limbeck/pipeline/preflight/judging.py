"""Can a task judge what models will answer? Asked before the first training, of somebody else's
task alone: with answers drawn at random to rows of the test split.

A metric that is no number, or a table that the report cannot hold, would be found after hours.
"""

from collections.abc import Sequence

import numpy as np

from limbeck.core import registry
from limbeck.core.contract import place
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight.volumes import spread
from limbeck.pipeline.steps.student import named_origin
from limbeck.sources import Row
from limbeck.tasks import Encoded, Scored, Task, check_answers, figures, packed, returned
from limbeck.tasks.packed import labels_of_answers
from limbeck.training.scoring import kept_of

# Rows that show every metric, and take no time.
MOST_ROWS = 1000
# Of the vectors that an encoder answers with, whose width no task knows.
WIDTH = 8


def require_judging(run: RunContext, rows: Sequence[Row]) -> None:
    """Raise ValueError where somebody else's task returns what is no judgement, or judges by a
    metric that is NaN.

    `rows`: of the test split, of which some are taken.
    """
    recipe = run.recipe
    if registry.package_of("tasks", recipe.task) is None:
        return
    name, _ = named_origin(recipe)
    task = run.new_task(name)
    trained = task.encode(spread(run.data.train, MOST_ROWS))
    some = spread(rows, MOST_ROWS)
    encoded = task.encode(some)
    for each in (trained, encoded):
        returned.check_encoded(task, each, packed.flat_labels(each))
    scored = drawn_answers(task, encoded)
    check_answers(task, some, scored)
    metric = recipe.judged_metric
    every_row_once = np.ones((1, len(scored.offsets) - 1))
    (value,) = figures(task, scored, every_row_once)[metric]
    if np.isnan(value):
        statistics = task.statistics(scored)
        is_summed = metric in task.metrics(every_row_once @ statistics)
        method = "metrics" if is_summed else "ranked"
        if is_summed and np.isnan(statistics).any():
            method = "statistics"
        where = place(returned.written(task, method))
        raise ValueError(
            f"{returned.told(task)} computes NaN as `{metric}` by `{method}`{where}, of answers "
            f"drawn at random to {len(some):,} rows of the test split, and models are to be judged "
            "by it. Mend it, or let `verdict.metric` name another"
        )


def drawn_answers(task: Task, encoded: Sequence[Encoded]) -> Scored:
    """Answers to rows, of logits drawn from a normal distribution by a fixed seed."""
    generator = np.random.default_rng(0)
    width = WIDTH if task.auto_model == "AutoModel" else len(task.labels)
    answers = []
    for each in encoded:
        logits = generator.standard_normal((len(each.labels), width)).astype(np.float32)
        answers.append(kept_of(task, each, logits))
    return Scored(np.concatenate(answers), *labels_of_answers(encoded))
