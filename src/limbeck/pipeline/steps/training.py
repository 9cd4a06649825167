"""The student's training: distilled, and quantized while it trains where the recipe says so."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

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
from limbeck.pipeline.stage import Stage, Work
from limbeck.pipeline.steps.quantizing import calibration, prepare, quantization_code
from limbeck.pipeline.steps.teacher import HISTORY, steps_in_key, training_rows
from limbeck.pipeline.steps.teacher_outputs import TeacherAnswers
from limbeck.pipeline.steps.validation import validation
from limbeck.pipeline.stored_model import StoredModel
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.fake import squared_bounds
from limbeck.quantization.health import Examination, broken_scales
from limbeck.quantization.progressive import Progressive, beginnings
from limbeck.quantization.swap import squared_error
from limbeck.recipe.model import Quantize, Recipe
from limbeck.tasks import Task, collate
from limbeck.training.job import BeforeStep, Job, Watchers, all_alike

EXAMPLE_ROWS = 2  # on which the losses are bound to both models' shapes before step 0


@dataclass(frozen=True)
class Objectives:
    """The losses of a recipe, and how its teachers answer; None where no loss asks them."""

    terms: Sequence[Term]
    answers: TeacherAnswers | None


def train_student(
    recipe: Recipe, run: RunContext, student: StoredModel, objectives: Objectives
) -> Path:
    """The folder with the trained weights, and the history of the training."""
    joint = joint_settings(recipe)
    answers = objectives.answers

    def build(folder: Path) -> None:
        job = training_job(recipe, run, student, objectives)
        history = run.train(job, folder)
        if process_index() == 0:
            write_json(folder / HISTORY, history)
            save_tensors(model_state(job.model.cpu()), folder / WEIGHTS)

    stage = Stage(
        name="train",
        inputs={
            "student": student.key,
            "labels": answers.key if answers else None,
            "data": run.fingerprint("train"),
            "train": steps_in_key(recipe.train),
            "distill": recipe.distill.model_dump(mode="json") if recipe.distill else None,
            "quantize": joint.model_dump(mode="json") if joint else None,
            "dtype": str(run.dtype()),
            **run.environment(),
        },
        build=build,
        components=[
            *run.task_component,
            *run.model_components(recipe.student.origin or _teacher_model(recipe)),
            ("losses", student.task.hard_loss),
            *(("losses", name) for name in (recipe.distill.losses if recipe.distill else ())),
            *(quantization_code(joint) if joint else ()),
        ],
        title=f"train ({training_title(recipe)}, seed {recipe.train.seed})",
        is_shared=True,
        work=Work(split="train", task=student.task),
    )
    return run.compute(stage)


def _teacher_model(recipe: Recipe) -> str | None:
    return recipe.teacher.model if recipe.teacher else None


def joint_settings(recipe: Recipe) -> Quantize | None:
    """How the student is quantized while it trains; None where it is not."""
    settings = recipe.quantize
    return settings if settings and settings.when == "train" else None


def training_job(
    recipe: Recipe, run: RunContext, student: StoredModel, objectives: Objectives
) -> Job:
    """The training, ready to run: losses bound to both models, modules swapped where it quantizes."""
    task = student.task
    terms = objectives.terms
    answers = objectives.answers
    model = run.place.move_model(student.load())
    # 1. The losses meet both models. Projectors are drawn alike, whatever this process did before,
    #    and whether the teacher is live or cached.
    answer = answers.open() if answers else None
    torch.manual_seed(recipe.train.seed)
    encoded = run.encode("train", task)
    example = collate(encoded[:EXAMPLE_ROWS], np.arange(EXAMPLE_ROWS), task.padding)
    taps = bind_losses(model, terms, answer, example)
    if answers and answers.peer:
        bind_peers(terms, answers.peer, task.hard_loss)
    # 2. Joint training: the model is swapped before the loop, which does not know of it.
    joint = joint_settings(recipe)
    listeners: list[BeforeStep] = []
    penalties: dict[str, Penalty] = {}
    examine = None
    kind = all_alike
    if joint:
        prepare(recipe, run, model, task)
        penalties = penalties_of(joint, model)
        listeners.append(_quantization_switch(recipe, run, model, task))
        examine = Examination(model, calibration(recipe, run, task)[0], run.store.tell)
        kind = partial(kind_of_step, joint)
    # 3. What is minimised, and who watches.
    objective = run.place.move_model(Objective(terms, penalties))
    is_balanced = recipe.distill is not None and recipe.distill.balance == "gradients"
    conflict = ConflictProbe(
        objective, first_layer(model), run.store.tell, is_balanced, task.likelihood
    )
    return Job(
        model=model,
        objective=objective,
        rows=training_rows(run, "train", task, recipe.train),
        settings=recipe.train,
        device=run.place.device,
        dtype=run.dtype(),
        taps=taps,
        teacher=answer or (lambda batch: None),
        watchers=Watchers(
            before_step=listeners, measure=conflict, diagnose=partial(broken_scales, model)
        ),
        validation=validation(run, model, task, recipe.train.epochs, first=examine),
        kind=kind,
        tell=run.store.tell,
    )


def _quantization_switch(
    recipe: Recipe, run: RunContext, model: nn.Module, task: Task
) -> Progressive:
    """Turns quantization on, format after format, at the steps that the recipe says."""
    assert recipe.quantize is not None

    def fit_ranges() -> None:
        calibrate(model, calibration(recipe, run, task))

    return Progressive(recipe.quantize, model, fit_ranges, run.store.tell)


def penalties_of(settings: Quantize, model: nn.Module) -> dict[str, Penalty]:
    """The error term of the weights, and of clipping bounds where they are learned."""
    penalties: dict[str, Penalty] = {
        "quantization": (schedule(settings.error_weight), partial(squared_error, model))
    }
    range_class = registry.load("ranges", settings.range_name)
    if range_class.clipped_only:
        weight = range_class.clip_weight if settings.clip_weight is None else settings.clip_weight
        penalties["clipping"] = (schedule(weight), partial(squared_bounds, model))
    return penalties


def kind_of_step(settings: Quantize, step: int, total: int) -> str:
    """What a joint training's step costs, for the time left."""
    return QUANTIZED if step >= beginnings(settings, total)[0] else STEP


def store_trained(run: RunContext, student: StoredModel, trained: Path) -> StoredModel:
    """A model's folder with the weights that its training left: an assistant, to be asked."""

    def build(folder: Path) -> None:
        student.save(student.trained(trained), folder)

    stage = Stage(
        name="assistant",
        inputs={"student": student.key, "trained": trained.name},
        build=build,
        components=run.task_component,
    )
    return StoredModel(run.compute(stage), student.task, student.save, student.blank)
