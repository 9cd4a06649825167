"""One recipe in a straight line: data, teacher, student, training, quantization, scores, artifact.

Every line of `run_arm` is one step (`steps/`), which asks the store (`RunContext.compute`) for the
folder of its result; data are read when the first step asks for them. `forecast` walks the same
list with a context that counts, and the verdict's arms are derived recipes (`arms.py`) that walk it
too.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.core.cache.store import Store
from limbeck.core.files import read_json
from limbeck.distillation import objective
from limbeck.evaluation.decisions.decision import Decision
from limbeck.models.weights import WEIGHTS
from limbeck.pipeline.context import RunContext, use_machine
from limbeck.pipeline.deciding.alike import Decided, decided_alike
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.steps.class_weights import hard_loss_keys
from limbeck.pipeline.steps.exporting import ProvenArtifact, export_artifact
from limbeck.pipeline.steps.quantizing import choose_quantization, quantize_trained
from limbeck.pipeline.steps.scoring import (
    Answering,
    score,
    student_answering,
    teacher_answering,
)
from limbeck.pipeline.steps.student import cut_student
from limbeck.pipeline.steps.teacher import prepare_teacher
from limbeck.pipeline.steps.teacher_outputs import teacher_outputs
from limbeck.pipeline.steps.training import Objectives, store_trained, train_student
from limbeck.pipeline.steps.warnings import warnings_of
from limbeck.pipeline.stored_model import HISTORY, StoredModel
from limbeck.pipeline.teaching.sequence_level import with_teacher_answers
from limbeck.recipe.model import Recipe
from limbeck.tasks import Scored, Task


@dataclass(frozen=True, kw_only=True, repr=False)
class Arm:
    """What one recipe led to.

    recipe: with what was chosen by trial filled in.
    student: before its training; the teacher itself, of its own arm.
    weights: the folder of the final weights.
    model: builds the final model, fake-quantized where the recipe quantizes.
    of_trained: the answers of the trained model (fake-quantized where the recipe quantizes) on the
        test split.
    history: what its training logged.
    decision: of a float model, how it decides where artifacts decide by costs or thresholds.
    artifact: None where nothing was quantized.
    notes: warnings of its training, and lines about what was chosen.
    """

    recipe: Recipe
    student: StoredModel
    weights: Path
    model: Callable[[], nn.Module]
    of_trained: Scored
    history: list[dict[str, Any]]
    decision: Decision | None = None
    artifact: ProvenArtifact | None = None
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<limbeck arm of {self.recipe!r}>"

    @property
    def task(self) -> Task:
        """The task bound to the student's preprocessing."""
        return self.student.task

    @cached_property
    def decided(self) -> Decided:
        """The artifact's own logits on the test split, where there is one, and what decides."""
        if self.artifact is None:
            return Decided(self.of_trained, self.decision)
        return Decided(self.artifact.answers.scored, self.artifact.answers.decision)

    @property
    def scored(self) -> Scored:
        """What is judged: the answers on the test split as a user is answered."""
        return self.decided.answered

    @property
    def num_parameters(self) -> int:
        """Of the float model."""
        model = self.student.load()
        return sum(parameter.numel() for parameter in model.parameters())

    @property
    def num_bytes(self) -> int:
        """On disk: of one graph and what it needs beside it, or of the float weights."""
        if self.artifact is not None:
            return self.artifact.num_bytes
        # Training changes the values of the student's weights, not how many there are.
        return os.path.getsize(self.student.folder / WEIGHTS)


def run_arm(recipe: Recipe, store: Store, *, run: RunContext | None = None) -> Arm:
    """One recipe, from data to test answers and, where it quantizes, a proven artifact.

    Args:
        recipe: resolved, where `run` is given.
        store: where results are kept and found.
        run: what several arms share; made of the recipe and the store where left out.

    Raises:
        ValueError: the recipe, its data or its models do not fit together.
        Interrupted: the process was asked to stop; the same call goes on.
    """
    if run is None:
        recipe = compatibility.resolved(recipe)
        run = RunContext(recipe, store)
    use_machine(recipe)
    # 1. Who teaches whom.
    teacher = None
    if recipe.teacher:
        teacher = prepare_teacher(recipe, run)
    student = cut_student(recipe, run, teacher)
    # The student begins as in every arm; only then the rows may be others than theirs.
    run = with_teacher_answers(recipe, run, teacher)
    objectives = ask_teachers(recipe, run, teacher, student)
    # 2. The training, in which a joint recipe quantizes.
    trained = train_student(recipe, run, student, objectives)
    # 3. Quantization after training; the other recipes pass through unchanged.
    recipe, notes = choose_quantization(recipe, run, student, trained)
    weights = quantize_trained(recipe, run, student, trained)
    # 4. The weights are final: only now does the arm read the test split.
    answering = student_answering(recipe, run, student, weights)
    scored = score(run, answering)
    # 5. The artifact, held against those answers; a float model beside it decides as it does.
    artifact, decision = None, None
    if recipe.quantize:
        artifact = export_artifact(recipe, run, weights, answering.model, scored, student.task)
    else:
        decision = decision_of(run, answering)
    return Arm(
        recipe=recipe,
        student=student,
        weights=weights,
        model=answering.model,
        of_trained=scored,
        decision=decision,
        history=read_json(trained / HISTORY),
        artifact=artifact,
        notes=[*run.answer_notes, *warnings_of(trained), *notes],
    )


def decision_of(run: RunContext, answering: Answering) -> Decision | None:
    """How a float model decides where artifacts decide by costs or thresholds; None elsewhere."""
    return decided_alike(run, answering.task, lambda: score(run, answering, "validation"))


def ask_teachers(
    recipe: Recipe, run: RunContext, teacher: StoredModel | None, student: StoredModel
) -> Objectives:
    """The losses of a recipe, and the answers that they are compared with.

    Args:
        recipe: the arm's.
        run: what the arms share.
        teacher: the recipe's, ready to be asked; None without one.
        student: before its training.

    Raises:
        ValueError: a loss cannot compare these two models.
    """
    hard_keys = hard_loss_keys(run, student.task)
    terms = objective.terms(student.task.hard_loss, recipe.distill, hard_keys)
    guide = teacher
    if recipe.assistant:
        guide = train_assistant(recipe, run)
    # A hard loss reads nothing of a teacher, which then need not be asked.
    asks_teacher = any(term.loss.reads for term in terms)
    if guide is None or not asks_teacher:
        return Objectives(terms, None)
    answers = teacher_outputs(recipe, run, guide, student, terms)
    return Objectives(terms, answers)


def train_assistant(recipe: Recipe, run: RunContext) -> StoredModel:
    """The assistant, taught by the teachers as the student will be by it; float."""
    # Its recipe is the student's with the assistant in the student's place.
    changes = {
        "student": recipe.assistant,
        "assistant": None,
        "quantize": None,
        "verdict": None,
    }
    its_recipe = recipe.model_copy(update=changes)
    assistant, trained = train_alone(its_recipe, run)
    return store_trained(run, assistant, trained)


def train_alone(recipe: Recipe, run: RunContext) -> tuple[StoredModel, Path]:
    """A student before its training, and the folder with its weights after it; nothing else."""
    use_machine(recipe)
    teacher = None
    if recipe.teacher:
        teacher = prepare_teacher(recipe, run)
    student = cut_student(recipe, run, teacher)
    run = with_teacher_answers(recipe, run, teacher)
    objectives = ask_teachers(recipe, run, teacher, student)
    trained = train_student(recipe, run, student, objectives)
    return student, trained


def run_teacher_arm(run: RunContext) -> Arm:
    """The teacher's own answers on the test split."""
    teacher = prepare_teacher(run.recipe, run)
    answering = teacher_answering(teacher)
    return Arm(
        recipe=run.recipe,
        student=teacher,
        weights=teacher.folder,
        model=teacher.load,
        of_trained=score(run, answering),
        decision=decision_of(run, answering),
        history=read_json(teacher.folder / HISTORY),
        notes=[*warnings_of(teacher.folder), *teacher.notes],
    )
