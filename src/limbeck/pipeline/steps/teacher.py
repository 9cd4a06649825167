"""The teacher: loaded or created, fine-tuned where the recipe says so, then frozen."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.core.errors import Diverged
from limbeck.core.files import digest, read_json, write_json
from limbeck.data import augment
from limbeck.distillation.objective import Objective, hard_terms
from limbeck.models.processes import process_index
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import minutes
from limbeck.pipeline.stage import Stage, Work
from limbeck.pipeline.steps.class_weights import hard_loss_keys
from limbeck.pipeline.steps.tries import (
    DIVERGED,
    best_try,
    note_of_tries,
    number_of_tries,
    settings_to_try,
)
from limbeck.pipeline.steps.validation import judge_of, validation
from limbeck.pipeline.steps.warnings import keeping_warnings
from limbeck.pipeline.stored_model import HISTORY, StoredModel, saver
from limbeck.recipe.model import Recipe, Teacher, Train
from limbeck.tasks import SelfSupervised, Task
from limbeck.training.checkpoints import History
from limbeck.training.job import Job, TrainingRows, keep_rows, keep_view


def prepare_teacher(recipe: Recipe, run: RunContext) -> StoredModel:
    """The tuned, frozen teacher of a recipe that has one.

    Raises:
        ValueError: the model cannot be had, or does not fit the task.
        Interrupted: the process was asked to stop within its training.
    """
    settings = recipe.teacher
    assert settings is not None
    task = run.new_task(settings.model)
    save = saver(run, task, settings.model, settings.options)
    # 1. One training, or several of which validation takes the best. In other processes nobody
    #    chooses otherwise: all read the same histories.
    steps = tuning_steps(recipe, run)
    labelled, validation_rows = len(run.data.labelled), len(run.data.validation)
    tries = settings_to_try(steps, number_of_tries(settings, labelled, validation_rows))
    folders = [_tuned(recipe, run, task, save, (each, len(tries))) for each in tries]
    histories = [read_json(folder / HISTORY) for folder in folders]
    _refuse_divergence(histories)
    # 2. The best of them.
    chosen, notes = 0, []
    judge = judge_of(run, validation_rows) if len(tries) > 1 else None
    best = best_try(histories, judge) if judge else None
    if best is not None:
        chosen = best
        notes = [note_of_tries(tries, histories, chosen, run.recipe.judged_metric)]
        run.store.tell_once(notes[0])
    own = run.own.get(settings.model)
    blank = own.create if own else None
    return StoredModel(folders[chosen], settings.model, task, save, blank, notes)


def _refuse_divergence(histories: Sequence[History]) -> None:
    """Raise Diverged where every try did, as a training by itself does."""
    reasons = [history[0][DIVERGED] for history in histories if history and DIVERGED in history[0]]
    if len(reasons) == len(histories):
        raise Diverged(reasons[0])


def _tuned(
    recipe: Recipe,
    run: RunContext,
    task: Task,
    save: Callable[[nn.Module, Path], None],
    one_of: tuple[Train, int],
) -> Path:
    """The folder of the teacher that one try left.

    Args:
        recipe: with the teacher.
        run: what the arms share.
        task: with the teacher's preprocessing.
        save: writes the model's folder.
        one_of: the settings of this training, and how many are tried.
    """
    settings = recipe.teacher
    assert settings is not None
    steps, num_tries = one_of

    seconds = minutes.of_teacher(run, settings)

    def build(folder: Path) -> None:
        model = run.create(
            settings.model,
            settings.options,
            task,
            seed=steps.seed,
            needs_head=not (settings.epochs or learns_along(recipe)),
        )
        history: History = []
        try:
            if settings.epochs:
                model = run.place.move_model(model)
                with keeping_warnings(run.store, folder):
                    job = tuning_job(run, model, task, steps, seconds)
                    history = run.train(job, folder)
        except Diverged as error:
            # Too high a rate is an outcome of a try, and is not tried again by the next arm.
            if num_tries == 1:
                raise
            history = [{DIVERGED: str(error)}]
        # All processes train along; one writes.
        if process_index() == 0:
            save(model.cpu(), folder)
            write_json(folder / HISTORY, history)

    is_one_of_several = num_tries > 1
    title = f"teacher (rate {steps.rate:g}, seed {steps.seed})" if is_one_of_several else ""
    stage = Stage(
        name="teacher",
        inputs=_inputs(settings, run, task, steps),
        build=build,
        components=[
            *run.task_component,
            *run.model_components(settings.model),
            ("losses", task.hard_loss),
        ],
        title=title,
        is_shared=settings.epochs > 0,
        work=Work(split=_tuning_split(run), task=task),
    )
    return minutes.compute(run, stage, seconds if settings.epochs else None)


def _inputs(settings: Teacher, run: RunContext, task: Task, steps: Train) -> dict[str, Any]:
    """All that a teacher depends on beside the code."""
    inputs: dict[str, Any] = {
        "model": run.reference(settings.model, settings.options),
        "preprocess": digest(task.preprocess),
        "labels": run.data.labels,
        # Of a network, or a head that its folder lacks, the weights are drawn, here and now.
        "seed": steps.seed,
        **run.environment(),
    }
    # One that is taken as it is depends on the data by its labels and preprocessing alone.
    if settings.epochs:
        inputs |= {
            "data": run.fingerprint("labelled"),
            # What it scores after each epoch says which weights are kept.
            "validation": run.fingerprint("validation"),
            "metric": run.recipe.judged_metric,
            "train": steps_in_key(steps),
            "dtype": str(run.dtype()),
            "hard_loss": hard_loss_keys(run, task),
        }
    return inputs


def further_teachers(recipe: Recipe, run: RunContext) -> list[StoredModel]:
    """The teachers beside the first."""
    teachers: list[StoredModel] = []
    for settings in recipe.teachers:
        # Each as the only teacher of a recipe.
        its_recipe = recipe.model_copy(update={"teacher": settings})
        teachers.append(prepare_teacher(its_recipe, run))
    return teachers


def tuning_steps(recipe: Recipe, run: RunContext) -> Train:
    """The settings of the teacher's fine-tuning.

    Every arm and seed shares one teacher: its seed is that of the run.
    """
    settings = recipe.teacher
    assert settings is not None
    changes = {
        # 0 is no training at all, which `train` has no number for.
        "epochs": max(1, settings.epochs),
        "learning_rate": settings.learning_rate or recipe.train.learning_rate,
        "seed": run.recipe.train.seed,
        # They count the views that the teacher answers for the student; its own training sees
        # another one in every epoch.
        "views": None,
    }
    return recipe.train.model_copy(update=changes)


def tuning_job(
    run: RunContext, model: nn.Module, task: Task, steps: Train, seconds: float | None = None
) -> Job:
    """The teacher's fine-tuning on labels, ready to run.

    Args:
        run: what the arms share.
        model: on the run's device.
        task: with this model's preprocessing.
        steps: as `tuning_steps` gives them.
        seconds: that it may take; no bound where left out.
    """
    objective = Objective(hard_terms(task.hard_loss, keys=hard_loss_keys(run, task)))
    return Job(
        model=model,
        objective=run.place.move_model(objective),
        rows=training_rows(run, _tuning_split(run), task, steps),
        settings=steps,
        device=run.place.device,
        dtype=run.dtype(),
        validation=validation(run, model, task, steps.epochs),
        seconds=seconds,
        tell=run.store.tell,
    )


def learns_along(recipe: Recipe) -> bool:
    """Whether a copy of the teacher learns beside the student (`losses.mutual`), from a new head
    too."""
    return recipe.distill is not None and "mutual" in recipe.distill.losses


def _tuning_split(run: RunContext) -> str:
    """The rows with labels: a hard loss has nothing to say of the others."""
    return "labelled" if run.data.num_unlabelled else "train"


def training_rows(run: RunContext, split: str, task: Task, steps: Train) -> TrainingRows:
    """A split's rows, with what a task draws anew in each step, and the augmented views."""
    # A self-supervised task masks other words in every step.
    draw = task.draw if isinstance(task, SelfSupervised) else keep_rows
    view = augment.views(steps, task) or keep_view
    return TrainingRows(
        encoded=run.encode(split, task),
        padding=task.padding,
        draw=draw,
        view=view,
    )


def steps_in_key(settings: Train) -> dict[str, Any]:
    """The training settings that a result depends on.

    The device and the threads are part of `RunContext.environment`, as this machine has them.
    """
    # A resumed training ends with the same bytes, however often it was saved.
    # Minutes count by the share that a training has of them (`minutes.allowed`).
    without = {"checkpoint_seconds", "threads", "device", "minutes"}
    return settings.model_dump(mode="json", exclude=without)
