"""A recipe to a run folder: every arm and seed, the verdict, the report, the artifact."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.artifact.load import require
from limbeck.core import registry
from limbeck.core.events import Tell, silent
from limbeck.core.files import read_json, write_bytes, write_json
from limbeck.core.store import Store, lock
from limbeck.data.splits import Splits
from limbeck.models.user_model import Own, wrapped
from limbeck.models.weights import WEIGHTS
from limbeck.pipeline import compatibility
from limbeck.pipeline.arm import run_arm, taught
from limbeck.pipeline.arms import derive_arms
from limbeck.pipeline.context import Arm, Bench
from limbeck.pipeline.describe import describe, final_arm
from limbeck.pipeline.stages import (
    arm_title,
    score,
    teacher_stage,  # fmt: skip
)
from limbeck.recipe.model import Recipe
from limbeck.recipe.reading import write
from limbeck.reports import page


def label(recipe: Recipe, tell: Tell = silent) -> None:
    """Fill the cache of the teachers' answers that a recipe's student trains on, and stop; several processes may share the work.

    Raises ValueError for a recipe in which no teacher is asked.
    """
    recipe = compatibility.resolved(recipe)
    if recipe.distill is None:
        raise ValueError(
            "label: this recipe has no `distill`, so no teacher is asked anything. Add it, with a `teacher`"
        )
    if recipe.train.augment and not recipe.train.views:
        raise ValueError(
            "label: `train.augment` changes the images by epoch, and the teacher answers them live. Say how many `train.views` there are"
        )
    taught(recipe, Bench(recipe, Store(tell=tell)))


def run(
    recipe: Recipe,
    out: str | Path,
    *,
    name: str = "run",
    tell: Tell = silent,
    models: Mapping[str, nn.Module | Own] | None = None,
    rows: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
) -> dict[str, Any]:
    """A recipe to a run folder: every arm, the verdict, the report, the artifact. Returns report.json's content. Raises ValueError, Interrupted.

    `tell` is given every event (`limbeck.core.events`) and is called by no other thread. `models`: the user's own modules, by the name that the
    recipe gives as `model`. `rows`: dicts, or a `datasets.Dataset`, by split, for the source `rows`.
    """
    recipe = compatibility.resolved(recipe)
    if recipe.quantize:
        for exporter in recipe.export:
            require(registry.load("exporters", exporter).runtime)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder / "run.lock", wait=False):
        write_bytes(folder / "recipe.yaml", write(recipe).encode())
        store = Store(tell=tell)
        own = wrapped(models)
        bench = Bench(recipe, store, own, rows)
        quarantine(bench.data, folder)
        arms = run_arms(bench)
        found = {
            **describe(bench, arms, name),
            "from_python": {"models": sorted(own), "rows": rows is not None},
        }
        curves = [
            {"arm": arm, "seed": runs[0].recipe.train.seed + i, **point}
            for arm, runs in arms.items()
            for i, run in enumerate(runs)
            for point in run.history
        ]
        write_json(folder / "stages.json", store.records)
        write_bytes(
            folder / "metrics.jsonl", "".join(json.dumps(point) + "\n" for point in curves).encode()
        )
        page.write(found, curves, folder)
        install(folder, final_arm(arms)[0])
    return found


def quarantine(data: Splits, folder: Path) -> None:
    """Write the rows that were kept apart, each with its place and what is wrong, and remove what an earlier run left."""
    path = folder / "quarantine.jsonl"
    path.unlink(missing_ok=True)
    if data.quarantined:
        write_bytes(
            path,
            "".join(
                json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in data.quarantined
            ).encode(),
        )


def run_arms(bench: Bench) -> dict[str, list[Arm]]:
    """The teacher, and every arm with every seed; without a verdict the recipe itself is the one arm."""
    recipe = bench.recipe
    arms: dict[str, list[Arm]] = {}
    if recipe.teacher:
        arms["teacher"] = [teacher_arm(bench)]
    if recipe.verdict is None:
        return arms | {arm_title(recipe): [run_arm(recipe, bench.store, bench=bench)]}
    for seed in range(recipe.verdict.seeds):
        for name, derived in derive_arms(recipe, seed).items():
            arms.setdefault(name, []).append(run_arm(derived, bench.store, bench=bench))
    return arms


def teacher_arm(bench: Bench) -> Arm:
    """The teacher's own answers on the test split."""
    ready = teacher_stage(bench, bench.recipe)
    scored = score(bench, ready.folder, ready.load, ready.task)
    parameters = sum(parameter.numel() for parameter in ready.load().parameters())
    num_bytes = os.path.getsize(ready.folder / WEIGHTS)
    return Arm(
        bench.recipe,
        ready.task,
        scored,
        ready.folder,
        parameters,
        num_bytes,
        read_json(ready.folder / "history.json"),
        model=ready.load,
    )


def install(folder: Path, run: Arm) -> None:
    """Put the proven artifact into the run folder, whole or not at all; one whose parity does not hold is not handed out.

    A student that was not quantized leaves its float model in place of an artifact, as a folder that a recipe can name.
    """
    for name in ("artifact", "artifact.tmp", "model", "model.tmp"):
        shutil.rmtree(folder / name, ignore_errors=True)
    if run.artifact is not None and all(row["holds"] for row in run.parity):
        shutil.copytree(run.artifact, folder / "artifact.tmp")
        os.rename(folder / "artifact.tmp", folder / "artifact")
    elif run.artifact is None and run.model is not None and run.save is not None:
        (folder / "model.tmp").mkdir()
        run.save(run.model(), folder / "model.tmp")
        os.rename(folder / "model.tmp", folder / "model")
