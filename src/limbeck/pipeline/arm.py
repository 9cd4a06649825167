"""The pipeline in a straight line: recipe -> data -> teacher -> student -> train -> quantize -> evaluate -> export; and over it the verdict."""

from pathlib import Path

import torch

from limbeck.core import memory
from limbeck.core.files import read_json
from limbeck.core.store import Store
from limbeck.distillation import objective
from limbeck.pipeline.context import Answers, Arm, Bench, Net
from limbeck.pipeline.stages import (
    choose_stage,
    evaluate_stage,
    export_stage,
    quantize_stage,
    student_stage,
    teacher_stage,
    train_stage,
    trained_net,  # fmt: skip
)
from limbeck.pipeline.teacher_outputs import label_stages
from limbeck.recipe.model import Recipe


def run_arm(recipe: Recipe, store: Store, *, bench: Bench | None = None) -> Arm:
    """One recipe, from data to test answers and, where it quantizes, an artifact with its parity. Raises ValueError and Interrupted."""
    bench = Bench(recipe, store) if bench is None else bench
    start, trained = trained_student(recipe, bench)
    recipe, notes = choose_stage(bench, recipe, start, trained)
    weights = quantize_stage(bench, recipe, start, trained)
    arm = evaluate_stage(bench, recipe, start, weights)
    arm.history, arm.notes = read_json(trained / "history.json"), notes
    if recipe.quantize:
        export_stage(bench, recipe, start, weights, arm, recipe.export)
    return arm


def trained_student(recipe: Recipe, bench: Bench) -> tuple[Net, Path]:
    """The student before its training, and the weights after it."""
    start, terms, answers = taught(recipe, bench)
    return start, train_stage(bench, recipe, start, terms, answers)


def taught(recipe: Recipe, bench: Bench) -> tuple[Net, list[objective.Term], Answers | None]:
    """The student before its training, its losses, and how its teachers answer; None where no loss asks them."""
    torch.set_num_threads(recipe.train.threads)
    memory.keep_freed_memory()
    ready = teacher_stage(bench, recipe) if recipe.teacher else None
    start = student_stage(bench, recipe, ready)
    terms = objective.terms(start.task.hard_loss, recipe.distill)
    guide = assistant(bench, recipe) if recipe.assistant else ready
    answers = (
        label_stages(bench, recipe, guide, start, terms)
        if guide and any(term.loss.reads for term in terms)
        else None
    )
    return start, terms, answers


def assistant(bench: Bench, recipe: Recipe) -> Net:
    """The assistant, taught by the teachers as the student will be by it; float."""
    own = recipe.model_copy(
        update={"student": recipe.assistant, "assistant": None, "quantize": None, "verdict": None}
    )
    return trained_net(bench, *trained_student(own, bench))
