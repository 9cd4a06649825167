"""A recipe to a run folder: every arm and seed, the verdict, the report, the artifact."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.core.cache import entries
from limbeck.core.cache.store import STAGE_FILE, Store, lock
from limbeck.core.events import Note, Reporter, silent
from limbeck.core.files import read_json, write_bytes, write_json
from limbeck.core.system import machine
from limbeck.data.splits import Splits
from limbeck.exporters.requirements import require_exporters
from limbeck.models import processes
from limbeck.models.user_model import Own, wrapped
from limbeck.pipeline import jobs
from limbeck.pipeline.arm import Arm, ask_teachers, run_arm, run_teacher_arm
from limbeck.pipeline.arms import arm_title, derive_arms
from limbeck.pipeline.context import RunContext, use_machine
from limbeck.pipeline.describe import Arms, describe, final_arm
from limbeck.pipeline.judging import lost
from limbeck.pipeline.outlook import tell_outlook
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.preflight.check import note_of_large_images
from limbeck.pipeline.preflight.exportable import looking_ahead
from limbeck.pipeline.run_folder import clear_leftovers, refuse_cache
from limbeck.pipeline.steps.baseline import linear_baseline
from limbeck.pipeline.steps.student import cut_student
from limbeck.pipeline.steps.teacher import prepare_teacher
from limbeck.pipeline.steps.tracing import trace_own_student
from limbeck.pipeline.teaching import vocabularies
from limbeck.pipeline.teaching.sequence_level import with_teacher_answers
from limbeck.pipeline.tracking import Tracking
from limbeck.recipe import validate
from limbeck.recipe.model import Recipe
from limbeck.recipe.naming import title_of
from limbeck.recipe.reading import write
from limbeck.reports import page
from limbeck.reports.card.text import FILE as CARD
from limbeck.reports.card.text import card


def run(
    recipe: Recipe,
    out: str | Path,
    *,
    name: str | None = None,
    tell: Reporter = silent,
    models: Mapping[str, nn.Module | Own] | None = None,
    rows: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
) -> dict[str, Any]:
    """A recipe to a run folder: every arm, the verdict, the report, the artifact.

    Args:
        recipe: as it was read; components' defaults need not be written out.
        out: the run folder; made where it is not there. What a run left there is replaced: the
            command line asks first (`run_folder`).
        name: the report's title; left out, the data and the task.
        tell: is given every event (`limbeck.core.events`), and is called by no other thread.
        models: the user's own modules, by the name that the recipe gives as `model`.
        rows: dicts, or a `datasets.Dataset`, by split, for the source `rows`.

    Returns:
        report.json's content.

    Raises:
        ValueError: something does not fit together; what, where, and the line to write instead.
        Held: another run writes to the folder `out`.
        Interrupted: the process was asked to stop; the same call goes on from there.
    """
    # 1. Whatever can be refused without data, models or time.
    for line in validate.without_effect(recipe):
        tell(Note(line))
    own_models = wrapped(models)
    recipe = compatibility.resolved(recipe, own_models)
    require_runtimes(recipe)
    compatibility.require_models(recipe, own_models)
    context = RunContext(recipe, Store(tell=tell), own=own_models, rows=rows)
    jobs.require_sharing(context)
    folder = Path(out)
    refuse_cache(folder, context.store.folder)
    context.when_started = looking_ahead(context)
    tell_outlook(context)
    # The place is opened when it is first asked for: a device that is not here is told now, before
    # the data are read. It also starts the other processes' group, which the next line asks about.
    _ = context.place
    if processes.process_index() > 0:
        return _run_beside(context, folder)
    tell_of_threads(context)
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder / "run.lock", wait=False):
        clear_leftovers(folder)
        # 2. What was asked for, so that a run that ends early can be understood.
        write_bytes(folder / "recipe.yaml", write(recipe).encode())
        write_quarantine(context.data, folder)
        tell_of_older_stages(context.store)
        for line in note_of_large_images(recipe, context.data):
            context.store.tell_once(line)
        title = name or title_of(recipe)
        # 3. The work; what would fail at its end comes first.
        tracking = Tracking(context, folder, title)
        trace_own_student(context)
        cut_named_student(context)
        arms = run_arms(context)
        # The other processes have done their part, and no stage waits for them any more.
        context.is_alone = True
        # 4. What it came to.
        report = describe(context, arms, title)
        report["from_python"] = {"models": sorted(own_models), "rows": rows is not None}
        curves = learning_curves(arms)
        write_json(folder / "stages.json", context.store.records)
        lines = [json.dumps(point) + "\n" for point in curves]
        write_bytes(folder / "metrics.jsonl", "".join(lines).encode())
        page.write(report, curves, folder)
        tracking.finish(report, curves)
        # What an earlier run left must not be taken for this run's.
        for file in (lost.CHANGED_ANSWERS, lost.LABEL_ERRORS):
            (folder / file).unlink(missing_ok=True)
        if report["lost"]:
            lost.write_rows(context, arms["teacher"][0], final_arm(arms)[0], folder)
        # 5. What is handed out: the first seed's, for seeds are there to measure chance.
        shipped = final_arm(arms)[0]
        install(folder, shipped, report)
    processes.wait_for_all()
    return report


def _run_beside(context: RunContext, folder: Path) -> dict[str, Any]:
    """What any process but the first does: it trains along, and reads what the first writes."""
    # One process tells: its lines would come once for each.
    context.store.tell = silent
    run_arms(context)
    # Process 0 comes here once the report is written.
    processes.wait_for_all()
    report: dict[str, Any] = read_json(folder / "report.json")
    return report


def label(recipe: Recipe, tell: Reporter = silent) -> None:
    """Fill the cache of the teachers' answers that a recipe's student trains on, and stop.

    Several processes may share the work.

    Args:
        recipe: as it was read.
        tell: is given every event (`limbeck.core.events`).

    Raises:
        ValueError: a recipe in which no teacher is asked, or none whose answers can be kept.
        Interrupted: the process was asked to stop; the same call goes on from there.
    """
    recipe = compatibility.resolved(recipe)
    if recipe.distill is None:
        raise ValueError(
            "label: this recipe has no `distill`, so no teacher is asked anything. "
            "Add it, with a `teacher`"
        )
    if recipe.distill.on_policy:
        raise ValueError(
            "label: with `distill.on_policy` the student writes other texts in every step, and the "
            "teacher answers them live: there is nothing to keep. Leave it out, or start the run"
        )
    if recipe.train.augment and not recipe.train.views:
        raise ValueError(
            "label: `train.augment` changes the images by epoch, and the teacher answers them "
            "live. Say how many `train.views` there are"
        )
    context = RunContext(recipe, Store(tell=tell))
    context.when_started = looking_ahead(context)
    _ = context.place
    if processes.process_index() > 0:
        # One process tells, as in `run`.
        context.store.tell = silent
    tell_of_threads(context)
    use_machine(recipe)
    cut_named_student(context)
    teacher = None
    if recipe.teacher:
        teacher = prepare_teacher(recipe, context)
    # Which layers of the teacher are kept depends on the student's, which need not be trained.
    student = cut_student(recipe, context, teacher)
    context = with_teacher_answers(recipe, context, teacher)
    ask_teachers(recipe, context, teacher, student)


def cut_named_student(context: RunContext) -> None:
    """Make a student that is no teacher's before any teacher is tuned: what is refused of it is
    told in seconds. The arms find it made.

    Raises:
        ValueError: the model cannot be had, or cannot be cut so.
    """
    # One that is cut from the teacher is cut from it as it was tuned.
    if context.recipe.student.origin is not None:
        student = cut_student(context.recipe, context, None)
        vocabularies.refuse_before_training(context, student)


def require_runtimes(recipe: Recipe) -> None:
    """Ask, before any work, for what writes and opens an artifact.

    Raises:
        ValueError: it is not installed.
    """
    # What is not quantized leaves no artifact (`install`).
    exporters = recipe.export if recipe.quantize else ()
    require_exporters(exporters)


def run_arms(run: RunContext) -> dict[str, list[Arm]]:
    """The teacher, and every arm with every seed; without a verdict the recipe is the one arm.

    Returns:
        The seeds of each arm, by its name.
    """
    recipe = run.recipe
    # Before the teacher too: what it computes beside its stages is to be that of `label`.
    use_machine(recipe)
    arms: dict[str, list[Arm]] = {}
    if recipe.verdict:
        tell_of_baseline(run)
    if recipe.teacher:
        # One for all arms and seeds, which share its stage in the store.
        arms["teacher"] = [run_teacher_arm(run)]
    if recipe.verdict is None:
        arm = run_arm(recipe, run.store, run=run)
        arms[arm_title(recipe)] = [arm]
        return arms
    if recipe.verdict.jobs > 1:
        # The teacher is there by now: all of them would wait for it.
        jobs.fill(run)
    for seed in range(recipe.verdict.seeds):
        derived = derive_arms(recipe, seed)
        for name, arm_recipe in derived.items():
            arm = run_arm(arm_recipe, run.store, run=run)
            arms.setdefault(name, []).append(arm)
    return arms


def tell_of_baseline(run: RunContext) -> None:
    """Fit the linear model first: in seconds it says what the networks have to beat."""
    recipe = run.recipe
    assert recipe.teacher is not None  # which a verdict asks for
    baseline = linear_baseline(run, run.new_task(recipe.teacher.model))
    if baseline:
        run.store.tell_once(
            f"baseline: {baseline.title}: {recipe.judged_metric} {baseline.on_validation:.4f} on "
            "validation, without a network"
        )


def learning_curves(arms: Arms) -> list[dict[str, Any]]:
    """What every training logged, each point with its arm and seed."""
    curves: list[dict[str, Any]] = []
    for name, seeds in arms.items():
        # The seeds of an arm follow one another (`derive_arms`).
        first = seeds[0].recipe.train.seed
        for number, arm in enumerate(seeds):
            where = {"arm": name, "seed": first + number}
            curves += [where | point for point in arm.history]
    return curves


def tell_of_threads(run: RunContext) -> None:
    """Say that there are more threads than cores, which only costs time."""
    note = machine.note_of_threads(run.recipe.train.threads)
    if note:
        run.store.tell_once(note)


def tell_of_older_stages(store: Store) -> None:
    """Say that stages of an earlier version lie in the cache: they are left alone, and not used.

    They hold no digest of their files, so nobody can tell whether these are as they were written.
    """
    older = 0
    for path in store.folder.glob(f"*/{STAGE_FILE}"):
        is_finished = not path.parent.suffix
        older += is_finished and not (path.parent / entries.FILES).exists()
    if older:
        store.tell_once(
            f"cache: {older} stages of an earlier version of limbeck lie in {store.folder}. They "
            "are not used, and left as they are; `limbeck cache prune` removes what is old"
        )


def write_quarantine(splits: Splits, folder: Path) -> None:
    """Write the rows that were kept apart, each with its place and what is wrong.

    What an earlier run left is removed.
    """
    path = folder / "quarantine.jsonl"
    path.unlink(missing_ok=True)
    if not splits.quarantined:
        return
    lines: list[str] = []
    for row in splits.quarantined:
        # A bad row may hold anything, so what JSON has no word for is written as Python prints it.
        text = json.dumps(row, ensure_ascii=False, default=str)
        lines.append(text + "\n")
    write_bytes(path, "".join(lines).encode())


def install(folder: Path, arm: Arm, report: Mapping[str, Any]) -> None:
    """Put the proven artifact into the run folder, whole or not at all, with its card.

    One whose parity does not hold is not handed out. A student that was not quantized leaves its
    float model in place of an artifact, as a folder that a recipe can name.
    """
    # What an earlier run left, or a kill, must not be taken for this run's.
    for name in ("artifact", "artifact.tmp", "model", "model.tmp"):
        shutil.rmtree(folder / name, ignore_errors=True)
    if arm.artifact is None:
        unfinished = folder / "model.tmp"
        unfinished.mkdir()
        arm.student.save(arm.model(), unfinished)
        os.rename(unfinished, folder / "model")
    elif all(row["holds"] for row in arm.artifact.parity):
        unfinished = folder / "artifact.tmp"
        try:
            entries.copy_part(arm.artifact.folder, unfinished)
        except ValueError:
            shutil.rmtree(unfinished)
            raise
        # Beside what the manifest covers: the card tells milliseconds, which no two runs share.
        text = card(dict(report), unfinished)
        write_bytes(unfinished / CARD, text.encode())
        os.rename(unfinished, folder / "artifact")
