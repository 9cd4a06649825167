"""A recipe to a run folder: every arm and seed, the verdict, the report, the artifact."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.core.events import Reporter, silent
from limbeck.core.files import read_json, write_bytes, write_json
from limbeck.core.store import Store, lock
from limbeck.data.splits import Splits
from limbeck.exporters.requirements import require_exporters
from limbeck.models import processes
from limbeck.models.user_model import Own, wrapped
from limbeck.pipeline import compatibility
from limbeck.pipeline.arm import Arm, ask_teachers, run_arm, run_teacher_arm, use_machine
from limbeck.pipeline.arms import arm_title, derive_arms
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.describe import Arms, describe, final_arm
from limbeck.pipeline.steps.student import cut_student
from limbeck.pipeline.steps.teacher import prepare_teacher
from limbeck.recipe.model import Recipe
from limbeck.recipe.reading import write
from limbeck.reports import page


def run(
    recipe: Recipe,
    out: str | Path,
    *,
    name: str = "run",
    tell: Reporter = silent,
    models: Mapping[str, nn.Module | Own] | None = None,
    rows: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
) -> dict[str, Any]:
    """A recipe to a run folder: every arm, the verdict, the report, the artifact.

    Args:
        out: the run folder; made where it is not there.
        name: the report's title.
        tell: is given every event (`limbeck.core.events`), and is called by no other thread.
        models: the user's own modules, by the name that the recipe gives as `model`.
        rows: dicts, or a `datasets.Dataset`, by split, for the source `rows`.

    Returns:
        report.json's content.

    Raises:
        ValueError: something does not fit together; what, where, and the line to write instead.
        Interrupted: the process was asked to stop; the same call goes on from there.
    """
    recipe = compatibility.resolved(recipe)
    require_runtimes(recipe)
    own = wrapped(models)
    context = RunContext(recipe, Store(tell=tell), own, rows)
    _ = context.place  # a device that is not here is told before the data are read
    if processes.process_index() > 0:
        return _run_beside(context, Path(out))
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder / "run.lock", wait=False):
        write_bytes(folder / "recipe.yaml", write(recipe).encode())
        write_quarantine(context.data, folder)
        arms = run_arms(context)
        context.is_alone = True  # the other processes have done their part
        report = describe(context, arms, name)
        report["from_python"] = {"models": sorted(own), "rows": rows is not None}
        curves = learning_curves(arms)
        write_json(folder / "stages.json", context.store.records)
        lines = "".join(json.dumps(point) + "\n" for point in curves)
        write_bytes(folder / "metrics.jsonl", lines.encode())
        page.write(report, curves, folder)
        install(folder, final_arm(arms)[0])
    processes.wait_for_all()
    return report


def _run_beside(context: RunContext, folder: Path) -> dict[str, Any]:
    """What any process but the first does: it trains along, and reads what the first has written."""
    context.store.tell = silent
    run_arms(context)
    processes.wait_for_all()
    report: dict[str, Any] = read_json(folder / "report.json")
    return report


def label(recipe: Recipe, tell: Reporter = silent) -> None:
    """Fill the cache of the teachers' answers that a recipe's student trains on, and stop.

    Several processes may share the work.

    Raises:
        ValueError: a recipe in which no teacher is asked, or none whose answers can be kept.
    """
    recipe = compatibility.resolved(recipe)
    if recipe.distill is None:
        raise ValueError(
            "label: this recipe has no `distill`, so no teacher is asked anything. "
            "Add it, with a `teacher`"
        )
    if recipe.train.augment and not recipe.train.views:
        raise ValueError(
            "label: `train.augment` changes the images by epoch, and the teacher answers them live. "
            "Say how many `train.views` there are"
        )
    context = RunContext(recipe, Store(tell=tell))
    use_machine(recipe)
    teacher = prepare_teacher(recipe, context) if recipe.teacher else None
    ask_teachers(recipe, context, teacher, cut_student(recipe, context, teacher))


def require_runtimes(recipe: Recipe) -> None:
    """Raises ValueError, before any work, where what opens an artifact is not installed."""
    require_exporters(recipe.export if recipe.quantize else ())


def run_arms(run: RunContext) -> dict[str, list[Arm]]:
    """The teacher, and every arm with every seed; without a verdict the recipe is the one arm."""
    recipe = run.recipe
    arms: dict[str, list[Arm]] = {}
    if recipe.teacher:
        arms["teacher"] = [run_teacher_arm(run)]
    if recipe.verdict is None:
        arms[arm_title(recipe)] = [run_arm(recipe, run.store, run=run)]
        return arms
    for seed in range(recipe.verdict.seeds):
        for name, derived in derive_arms(recipe, seed).items():
            arms.setdefault(name, []).append(run_arm(derived, run.store, run=run))
    return arms


def learning_curves(arms: Arms) -> list[dict[str, Any]]:
    """What every training logged, each point with its arm and seed."""
    return [
        {"arm": name, "seed": seeds[0].recipe.train.seed + number, **point}
        for name, seeds in arms.items()
        for number, seed in enumerate(seeds)
        for point in seed.history
    ]


def write_quarantine(splits: Splits, folder: Path) -> None:
    """Write the rows that were kept apart, each with its place and what is wrong.

    What an earlier run left is removed.
    """
    path = folder / "quarantine.jsonl"
    path.unlink(missing_ok=True)
    if splits.quarantined:
        lines = [json.dumps(row, ensure_ascii=False, default=str) for row in splits.quarantined]
        write_bytes(path, "".join(line + "\n" for line in lines).encode())


def install(folder: Path, arm: Arm) -> None:
    """Put the proven artifact into the run folder, whole or not at all.

    One whose parity does not hold is not handed out. A student that was not quantized leaves its
    float model in place of an artifact, as a folder that a recipe can name.
    """
    for name in ("artifact", "artifact.tmp", "model", "model.tmp"):
        shutil.rmtree(folder / name, ignore_errors=True)
    if arm.artifact is None:
        (folder / "model.tmp").mkdir()
        arm.student.save(arm.model(), folder / "model.tmp")
        os.rename(folder / "model.tmp", folder / "model")
    elif all(row["holds"] for row in arm.artifact.parity):
        shutil.copytree(arm.artifact.folder, folder / "artifact.tmp")
        os.rename(folder / "artifact.tmp", folder / "artifact")
