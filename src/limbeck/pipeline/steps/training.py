"""The student's training: distilled, and quantized while it trains where the recipe says so."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from limbeck.core import registry
from limbeck.core.events import QUANTIZED, STEP
from limbeck.core.files import write_json
from limbeck.core.schedules import schedule
from limbeck.distillation.binding import bind_losses, bind_peers
from limbeck.distillation.conflict import ConflictProbe, first_layer
from limbeck.distillation.objective import Objective, Penalty, Term
from limbeck.models.processes import process_index
from limbeck.models.weights import WEIGHTS, model_state, save_tensors
from limbeck.pipeline.arms import training_title
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import minutes
from limbeck.pipeline.stage import Stage, Work
from limbeck.pipeline.steps.class_weights import hard_loss_keys
from limbeck.pipeline.steps.quantizing import calibration, prepare, quantization_code
from limbeck.pipeline.steps.student import named_origin
from limbeck.pipeline.steps.teacher import steps_in_key, training_rows
from limbeck.pipeline.steps.teacher_outputs import TeacherAnswers
from limbeck.pipeline.steps.validation import validation
from limbeck.pipeline.steps.warnings import keeping_warnings
from limbeck.pipeline.stored_model import HISTORY, StoredModel
from limbeck.pipeline.teaching.on_policy import rewriting
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.health import Examination, broken_scales
from limbeck.quantization.modules.fake import squared_bounds
from limbeck.quantization.modules.swap import squared_error
from limbeck.quantization.progressive import Progressive, beginnings
from limbeck.recipe.model import Quantize, Recipe, Train
from limbeck.tasks import Task, collate
from limbeck.training.job import (
    BeforeStep,
    Job,
    TrainingRows,
    Watchers,
    all_alike,
    no_teacher,
    one_format,
)

# On which the losses are bound to both models' shapes before step 0. Two, since an axis of one row
# would fit every other.
EXAMPLE_ROWS = 2


@dataclass(frozen=True)
class Objectives:
    """The losses of a recipe, and how its teachers answer; None where no loss asks them."""

    terms: Sequence[Term]
    answers: TeacherAnswers | None


def train_student(
    recipe: Recipe,
    run: RunContext,
    student: StoredModel,
    objectives: Objectives,
) -> Path:
    """The folder with the trained weights, and the history of the training.

    Args:
        recipe: the arm's.
        run: what the arms share.
        student: before its training.
        objectives: what it learns.

    Raises:
        ValueError: a loss does not fit the two models, or a pattern no module.
        Diverged: a loss term is not finite.
        Interrupted: the process was asked to stop; the same call goes on.
    """
    if recipe.train.epochs == 0:
        return keep_untrained(run, student)
    joint = joint_settings(recipe)
    answers = objectives.answers

    def build(folder: Path) -> None:
        with keeping_warnings(run.store, folder):
            job = training_job(recipe, run, student, objectives)
            history = run.train(job, folder)
        # All processes train along; one writes.
        if process_index() == 0:
            write_json(folder / HISTORY, history)
            save_tensors(model_state(job.model.cpu()), folder / WEIGHTS)

    # How a recipe quantizes after training is left out: such an arm shares its float training.
    inputs: dict[str, Any] = {
        "student": student.key,
        "labels": answers.key if answers else None,
        "data": run.fingerprint("train"),
        # What it scores after each epoch says which weights are kept.
        "validation": run.fingerprint("validation"),
        "metric": run.recipe.judged_metric,
        "train": steps_in_key(recipe.train),
        "hard_loss": hard_loss_keys(run, student.task),
        "distill": recipe.distill.model_dump(mode="json") if recipe.distill else None,
        "quantize": joint.model_dump(mode="json") if joint else None,
        "dtype": str(run.dtype()),
        **run.environment(),
    }
    stage = Stage(
        name="train",
        inputs=inputs,
        build=build,
        components=_components(recipe, run, student.task),
        title=f"train ({training_title(recipe)}, seed {recipe.train.seed})",
        is_shared=True,
        work=Work(split="train", task=student.task),
    )
    return minutes.compute(run, stage, minutes.of_student(run, recipe))


def keep_untrained(run: RunContext, student: StoredModel) -> Path:
    """The weights of a student that nothing is trained of, as a training would have left them."""

    def build(folder: Path) -> None:
        write_json(folder / HISTORY, [])
        save_tensors(model_state(student.load()), folder / WEIGHTS)

    stage = Stage(
        name="untrained",
        inputs={"student": student.key},
        build=build,
        components=run.task_component,
    )
    return run.compute(stage)


def _components(recipe: Recipe, run: RunContext, task: Task) -> list[tuple[str, str]]:
    """(family, name) of what a training loads by name."""
    # The network that the student is, or is cut from.
    name, _ = named_origin(recipe)
    components = [*run.task_component, *run.model_components(name)]
    components.append(("losses", task.hard_loss))
    if recipe.distill:
        components += [("losses", loss) for loss in recipe.distill.losses]
    joint = joint_settings(recipe)
    if joint:
        components += quantization_code(joint)
    return components


def joint_settings(recipe: Recipe) -> Quantize | None:
    """How the student is quantized while it trains; None where it is not."""
    settings = recipe.quantize
    if settings and settings.when == "train":
        return settings
    return None


def training_job(
    recipe: Recipe,
    run: RunContext,
    student: StoredModel,
    objectives: Objectives,
) -> Job:
    """The training, ready to run: losses bound to both models, modules swapped if it quantizes.

    Its arguments are those of `train_student`.

    Raises:
        ValueError: a loss does not fit the two models, or a pattern no module.
    """
    task = student.task
    terms, answers = objectives.terms, objectives.answers
    split, settings = rows_to_learn(recipe, run, objectives)
    model = run.place.move_model(student.load())
    # 1. The losses meet both models. Projectors are drawn alike, whatever this process did before,
    #    and whether the teacher is live or cached.
    answer = answers.open() if answers else None
    torch.manual_seed(recipe.train.seed)
    encoded = run.encode(split, task)
    example = collate(encoded[:EXAMPLE_ROWS], np.arange(EXAMPLE_ROWS), task.padding)
    taps = bind_losses(model, terms, answer, example)
    if answers and answers.peer:
        bind_peers(terms, answers.peer, task.hard_loss, hard_loss_keys(run, task))
    # 2. Joint training: the model is swapped before the loop, which does not know of it.
    joint = joint_settings(recipe)
    listeners: list[BeforeStep] = []
    penalties: dict[str, Penalty] = {}
    # What is asked of ranges before each validation; nothing of a float model.
    examine = None
    kind, begins = all_alike, one_format
    if joint:
        prepare(recipe, run, model, task)
        penalties = penalties_of(joint, model)
        listeners.append(_quantization_switch(recipe, run, model, task))
        examine = Examination(model, calibration(recipe, run, task)[0], run.store.tell)
        kind = partial(kind_of_step, joint)
        begins = partial(beginnings, joint)
    # 3. What is minimised, and who watches.
    objective = run.place.move_model(Objective(terms, penalties))
    is_balanced = recipe.distill is not None and recipe.distill.balance == "gradients"
    conflict = ConflictProbe(
        objective,
        first_layer(model),
        run.store.tell,
        balanced=is_balanced,
        likelihood=task.likelihood,
        keys=keys_of_weights(recipe),
    )
    watchers = Watchers(
        before_step=listeners,
        measure=conflict,
        diagnose=partial(broken_scales, model),
    )
    return Job(
        model=model,
        objective=objective,
        rows=_rows_of(recipe, run, student, model, split),
        settings=settings,
        device=run.place.device,
        dtype=run.dtype(),
        taps=taps,
        teacher=answer or no_teacher,
        watchers=watchers,
        validation=validation(run, model, task, settings.epochs, first=examine),
        kind=kind,
        begins=begins,
        seconds=minutes.of_student(run, recipe),
        tell=run.store.tell,
    )


def _rows_of(
    recipe: Recipe, run: RunContext, student: StoredModel, model: nn.Module, split: str
) -> TrainingRows:
    """The rows of a split, with what the student itself writes into them (`on_policy`)."""
    rows = training_rows(run, split, student.task, recipe.train)
    return replace(rows, rewrite=rewriting(recipe, run, student, model))


def rows_to_learn(recipe: Recipe, run: RunContext, objectives: Objectives) -> tuple[str, Train]:
    """The split that a training reads, and its settings.

    Where no teacher answers, a row without a label teaches nothing: the labelled rows are read in
    its place, so many times that the training sees as many rows as one with a teacher does.
    """
    data = run.data
    if objectives.answers or not data.num_unlabelled or not data.labelled:
        return "train", recipe.train
    times = len(data.train) / len(data.labelled)
    changes = {"epochs": math.ceil(times * recipe.train.epochs)}
    if recipe.train.patience is not None:
        changes["patience"] = math.ceil(times * recipe.train.patience)
    return "labelled", recipe.train.model_copy(update=changes)


def _quantization_switch(
    recipe: Recipe, run: RunContext, model: nn.Module, task: Task
) -> Progressive:
    """Turns quantization on, format after format, at the steps that the recipe says."""
    assert recipe.quantize is not None

    # Calibration rows are read anew at each call: no batch is held between.
    def fit_ranges() -> None:
        calibrate(model, calibration(recipe, run, task))

    return Progressive(recipe.quantize, model, fit_ranges, run.store.tell)


def penalties_of(settings: Quantize, model: nn.Module) -> dict[str, Penalty]:
    """The error term of the weights, and of clipping bounds where they are learned."""
    # Each has its weight's schedule, and is computed only where that is not 0 (`Objective`).
    penalties: dict[str, Penalty] = {
        "quantization": (schedule(settings.error_weight), partial(squared_error, model))
    }
    range_class = registry.load("ranges", settings.range_name)
    # A bound that only clipped values move is kept from growing by its penalty alone (PACT).
    if range_class.clipped_only:
        weight = settings.clip_weight
        if weight is None:
            weight = range_class.clip_weight
        penalties["clipping"] = (schedule(weight), partial(squared_bounds, model))
    return penalties


def keys_of_weights(recipe: Recipe) -> dict[str, str]:
    """The recipe's key of each term's weight; the labels have one where a teacher teaches too."""
    keys = {"quantization": "quantize.error_weight", "clipping": "quantize.clip_weight"}
    if recipe.distill:
        keys["task"] = "distill.task_weight"
        for name in recipe.distill.losses:
            keys[name] = f"distill.losses.{name}.weight"
    return keys


def kind_of_step(settings: Quantize, step: int, total: int) -> str:
    """What a joint training's step costs, for the time left."""
    first_quantized, *_ = beginnings(settings, total)
    return QUANTIZED if step >= first_quantized else STEP


def store_trained(run: RunContext, student: StoredModel, trained: Path) -> StoredModel:
    """A model's folder with the weights that its training left: an assistant, to be asked."""

    def build(folder: Path) -> None:
        student.save(student.trained(trained), folder)

    # The model as a teacher's folder is: one that can be loaded by itself.
    stage = Stage(
        name="assistant",
        inputs={"student": student.key, "trained": trained.name},
        build=build,
        components=run.task_component,
    )
    return replace(student, folder=run.compute(stage))
