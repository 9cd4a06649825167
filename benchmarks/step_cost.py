"""What distilling and quantizing add to a training step: the same student, the same batches, the
arms taking turns of several steps in one process.

    python benchmarks/step_cost.py recipes/token-classification-conll2003-minilm3-joint.yaml
    [key=value ...] [--steps N]

Prints the median milliseconds of a step of each arm and the median of the pairwise ratios to
`plain`. The first step of a turn is not counted: it
finds the caches full of another arm's weights, as no training of its own does. The teacher and its
cache come from the store.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from limbeck.core.cache.store import Store
from limbeck.core.system import memory
from limbeck.distillation import objective
from limbeck.pipeline.arms import derive_arms
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.steps.student import cut_student
from limbeck.pipeline.steps.teacher import prepare_teacher
from limbeck.pipeline.steps.teacher_outputs import teacher_outputs
from limbeck.pipeline.steps.training import Objectives, training_job
from limbeck.quantization import progressive
from limbeck.recipe.model import Recipe
from limbeck.recipe.reading import read
from limbeck.training import loop

TURN = 5  # steps, the first not counted


def training(bench: RunContext, derived: Recipe, folder: Path) -> loop.Training:
    """An arm's training, its quantizers on."""
    ready = prepare_teacher(derived, bench)
    start = cut_student(derived, bench, ready)
    terms = objective.terms(start.task.hard_loss, derived.distill)
    answers = None
    if derived.distill:
        answers = teacher_outputs(derived, bench, ready, start, terms)
    job = training_job(derived, bench, start, Objectives(terms, answers))
    made = loop.Training(job, folder)
    if derived.quantize:
        for step in progressive.beginnings(derived.quantize, len(made.batches)):
            for listener in made.job.watchers.before_step:
                listener(step, len(made.batches))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    recipe = read(arguments.recipe, arguments.overrides)
    bench = RunContext(recipe, Store())
    memory.keep_freed_memory()
    arms = {
        name: derived
        for name, derived in derive_arms(recipe, 0).items()
        if name in ("plain", "kd", "joint")
    }
    with tempfile.TemporaryDirectory() as folder:
        trainings = {name: training(bench, derived, Path(folder)) for name, derived in arms.items()}
        total = len(trainings["plain"].batches)
        seconds: dict[str, list[float]] = {name: [] for name in trainings}
        for first in range(0, arguments.steps, TURN):
            for name, each in trainings.items():
                for step in range(first, first + TURN):
                    began = time.perf_counter()
                    each.step(total // 3 + step, total)
                    seconds[name].append(time.perf_counter() - began)
    counted = {
        name: np.array(values).reshape(-1, TURN)[:, 1:].ravel() for name, values in seconds.items()
    }
    for name, values in counted.items():
        plain, kd = (np.median(values / counted[other]) for other in ("plain", "kd"))
        print(
            f"{name:6} {np.median(values) * 1000:8.1f} ms a step   {plain:.3f} x plain   {kd:.3f} x kd"
        )


if __name__ == "__main__":
    main()
