"""What each training of a run may take of `train.minutes`: a share that the recipe alone decides.

Shares are by work: epochs, times 2 of a teacher (a student is about half of it), times 1.3 where
they are quantized (`core.events.COST`). So all arms of a verdict have the same number of epochs
within them, a run that goes on has the shares that it began with, and what one training leaves no
other one takes.

A training that ended by itself within its share is what it would have been without one, and is kept
in the store as such; only one that was cut short is found by the same share alone.
"""

import functools
from dataclasses import replace
from pathlib import Path

from limbeck.core.cache.store import copy_entry
from limbeck.core.events import COST, QUANTIZED, STEP
from limbeck.core.files import read_json
from limbeck.evaluation.undertrained import was_cut
from limbeck.pipeline.arms import derive_arms, training_title
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.stage import Stage
from limbeck.pipeline.steps.tries import number_of_tries
from limbeck.pipeline.stored_model import HISTORY
from limbeck.recipe.model import Recipe, Teacher

OF_TEACHER = 2.0
OF_QUANTIZED = COST[QUANTIZED] / COST[STEP]


def of_teacher(run: RunContext, settings: Teacher) -> float | None:
    """Seconds that one try of a teacher may take; None without a bound."""
    return _share(run, OF_TEACHER * settings.epochs)


def of_student(run: RunContext, recipe: Recipe) -> float | None:
    """Seconds that the training of an arm may take; None without a bound."""
    return _share(run, _work(recipe))


def compute(run: RunContext, stage: Stage, seconds: float | None) -> Path:
    """The folder of a training that may take so many seconds; None is no bound."""
    if seconds is None or run.store.has(stage.name, stage.key):
        return run.compute(stage)
    bounded = run.compute(replace(stage, inputs={**stage.inputs, "seconds": seconds}))
    if was_cut(read_json(bounded / HISTORY)):
        return bounded

    # Called as the training's own function is, so that the stage has the key which that gives it.
    @functools.wraps(stage.build)
    def copy(folder: Path) -> None:
        copy_entry(bounded, folder)

    return run.compute(replace(stage, build=copy, is_shared=False))


def _share(run: RunContext, work: float) -> float | None:
    minutes = run.recipe.train.minutes
    return None if minutes is None else round(60 * minutes * work / _whole(run), 3)


def _work(recipe: Recipe) -> float:
    is_quantized = recipe.quantize is not None and recipe.quantize.when == "train"
    return recipe.train.epochs * (OF_QUANTIZED if is_quantized else 1.0)


def _whole(run: RunContext) -> float:
    """The work of all trainings of the run."""
    return work_of_teachers(run) + work_of_students(run)


def work_of_teachers(run: RunContext) -> float:
    """The work of the trainings of all teachers, in epochs of a student in float."""
    recipe = run.recipe
    labelled, validation = len(run.data.labelled), len(run.data.validation)
    work = 0.0
    for settings in ([recipe.teacher] if recipe.teacher else []) + recipe.teachers:
        tries = number_of_tries(settings, labelled, validation)
        work += tries * OF_TEACHER * settings.epochs
    return work


def work_of_students(run: RunContext) -> float:
    """The work of the trainings of all arms and seeds, and of an assistant, in the same unit."""
    recipe = run.recipe
    arms = {"": recipe}
    seeds = 1
    if recipe.verdict:
        seeds = recipe.verdict.seeds
        # Arms that share a training count once.
        arms = {training_title(arm): arm for arm in derive_arms(recipe, 0).values()}
    work = seeds * sum(_work(arm) for arm in arms.values())
    if recipe.assistant:
        work += seeds * recipe.train.epochs
    return work
