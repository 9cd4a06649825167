"""What a linear model scores on the same splits: who is no better needs no network."""

from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from limbeck.baselines.fitting import Labelled, best_baseline, fits
from limbeck.core.files import read_json, write_json
from limbeck.core.system import machine
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.deciding.alike import Decided, decided_alike
from limbeck.pipeline.stage import Stage
from limbeck.pipeline.steps.scoring import PREDICTIONS
from limbeck.tasks import Scored, Task
from limbeck.tasks.packed import labels_of_answers

# What it is, and what chose it, in the folder of the stage.
ABOUT = "baseline.json"
# Its logits on validation, beside those on test.
HELD = "validation.npy"


@dataclass(frozen=True)
class Baseline:
    """`title`: what it is, in words. `num_parameters`: its numbers. `on_validation`: the metric by
    which its strength was chosen. `decided`: its answers on the test split, decided as an artifact
    decides."""

    title: str
    num_parameters: int
    on_validation: float
    decided: Decided

    @property
    def scored(self) -> Scored:
        """Its answers on the test split, as a user would be answered."""
        return self.decided.answered


def linear_baseline(run: RunContext, task: Task) -> Baseline | None:
    """The baseline of a run's data; None for a task that has none.

    Args:
        run: what the arms share; its recipe says by which metric the strength is chosen.
        task: with any model's preprocessing, of which only the labels are read.
    """
    if not fits(task):
        return None
    metric = run.recipe.judged_metric

    def labelled(split: str) -> Labelled:
        return Labelled(getattr(run.data, split), *labels_of_answers(run.encode(split, task)))

    def build(folder: Path) -> None:
        # Sums of floats hang on the number of threads, and torch does not set that of numpy.
        with threadpool_limits(run.recipe.train.threads):
            best, on_validation = best_baseline(
                task, labelled("labelled"), labelled("validation"), metric
            )
            # Its weights are final: only now is the test split read.
            np.save(folder / PREDICTIONS, best.logits(best.read(run.data.test)))
            np.save(folder / HELD, best.logits(best.read(run.data.validation)))
        about: dict[str, Any] = {
            "title": best.title,
            "num_parameters": best.num_parameters,
            "on_validation": on_validation,
        }
        write_json(folder / ABOUT, about)

    stage = Stage(
        name="baseline",
        inputs={
            "data": [run.fingerprint(split) for split in ("labelled", "validation", "test")],
            "metric": metric,
            "threads": run.recipe.train.threads,
            "scikit-learn": version("scikit-learn"),
            **machine.numerics(),
        },
        build=build,
        components=run.task_component,
    )
    folder = run.compute(stage)

    def scored(split: str, file: str) -> Scored:
        return Scored(np.load(folder / file), *labels_of_answers(run.encode(split, task)))

    decision = decided_alike(run, task, partial(scored, "validation", HELD))
    return Baseline(
        **read_json(folder / ABOUT), decided=Decided(scored("test", PREDICTIONS), decision)
    )
