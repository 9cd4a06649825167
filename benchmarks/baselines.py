"""What a linear model scores on the data of a recipe: `python benchmarks/baselines.py RECIPE ...`.

A line for each recipe: the baseline of its verdict, the metric on validation and on the test split
with its 95 % interval, and the seconds that fitting took. `--model FOLDER` stands in for models of
texts that are not on this machine: only their tokenizer is asked, for nothing that is told here.
Keys are overridden as for `limbeck run`: `data.path=...`.
"""

import argparse
import time
from pathlib import Path

from limbeck.core.cache.store import Store
from limbeck.evaluation.compare import Judged, level_interval
from limbeck.evaluation.scores import quality
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.steps.baseline import linear_baseline
from limbeck.recipe.reading import read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--model", help="a folder with a tokenizer")
    given = parser.parse_args()
    for path in given.recipes:
        print(f"{path.stem}: {told(path, given.model)}", flush=True)


def told(path: Path, model: str | None) -> str:
    """The line of one recipe."""
    recipe = compatibility.resolved(read(path, []))
    assert recipe.teacher is not None
    run = RunContext(recipe, Store())
    task = run.new_task(model if model and run.reads_tokens else recipe.teacher.model)
    run.data  # noqa: B018  read before the clock starts
    began = time.perf_counter()
    found = linear_baseline(run, task)
    seconds = time.perf_counter() - began
    if found is None:
        return "no linear model for this task"
    metric = recipe.judged_metric
    low, high = level_interval(Judged([found.scored], task).by(metric), metric)
    value = quality(found.scored, task)[metric]
    return (
        f"{found.title}: {metric} {value:.4f} [{low:.4f}, {high:.4f}], on validation "
        f"{found.on_validation:.4f}; {seconds:.1f} s"
    )


if __name__ == "__main__":
    main()
