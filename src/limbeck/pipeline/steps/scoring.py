"""A model's answers on a split: the only place where a run reads test with a trained model.

They are computed on the CPU in float32, for a verdict and parity stand on them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from torch import nn

from limbeck.core.files import digest
from limbeck.models.weights import WEIGHTS, restore_state
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.stage import Stage, Work
from limbeck.pipeline.steps.quantizing import activations, prepare, quantization_code
from limbeck.pipeline.stored_model import StoredModel
from limbeck.recipe.model import Recipe
from limbeck.tasks import Scored, Task
from limbeck.tasks.packed import labels_of_answers
from limbeck.training.scoring import score_split

# The logits of every unit of the split, in the folder of the stage.
PREDICTIONS = "logits.npy"


def final_model(
    recipe: Recipe, run: RunContext, student: StoredModel, weights: Path
) -> Callable[[], nn.Module]:
    """What builds the model that an arm led to: in evaluation mode, on the CPU.

    It is fake-quantized where the recipe quantizes.

    Args:
        recipe: the arm's, with nothing left open.
        run: what the arms share.
        student: before its training.
        weights: the folder with the final weights.
    """

    def build() -> nn.Module:
        model = student.load()
        # Scales and codes are buffers and parameters of the swapped modules, which must be there
        # to take them.
        if recipe.quantize:
            prepare(recipe, run, model, student.task)
        restore_state(model, load_file(weights / WEIGHTS))
        return model.eval()

    return build


@dataclass(frozen=True)
class Answering:
    """A trained model that is to answer a split.

    weights: the folder whose name stands for its weights. model: loads it. task: with its
    preprocessing. components: (family, name) of what it holds that is loaded by name. one_by_one:
    whether each row is answered by itself.
    """

    weights: Path
    model: Callable[[], nn.Module]
    task: Task
    components: Sequence[tuple[str, str]] = ()
    one_by_one: bool = False


def student_answering(
    recipe: Recipe, run: RunContext, student: StoredModel, weights: Path
) -> Answering:
    """A student of final weights; the arguments are those of `final_model`."""
    settings = recipe.quantize
    # A dynamic range is that of what stands together in a batch: alone, a row has its own, as in
    # the artifact, which answers one row at a time.
    one_by_one = settings is not None and activations(recipe, run) == "uint8-dynamic"
    model = final_model(recipe, run, student, weights)
    components = quantization_code(settings) if settings else ()
    return Answering(weights, model, student.task, components, one_by_one)


def teacher_answering(teacher: StoredModel) -> Answering:
    """A teacher, as it was tuned."""
    return Answering(teacher.folder, teacher.load, teacher.task)


def score_teacher(run: RunContext, teacher: StoredModel) -> Scored:
    """A teacher's answers on the test split."""
    return score(run, teacher_answering(teacher))


def score(run: RunContext, answering: Answering, split: str = "test") -> Scored:
    """A model's answers on a split, as a stage of their own.

    Args:
        run: what the arms share.
        answering: the model.
        split: what it answers; it must have rows.
    """
    task = answering.task
    encoded = run.encode(split, task)

    def build(folder: Path) -> None:
        scored = score_split(
            answering.model(),
            encoded,
            task,
            one_by_one=answering.one_by_one,
            tell=run.store.tell,
        )
        np.save(folder / PREDICTIONS, scored.logits)

    stage = Stage(
        name="evaluate",
        inputs={
            "weights": answering.weights.name,
            "data": run.fingerprint(split),
            "preprocess": digest(task.preprocess),
            **run.environment(),
        },
        build=build,
        components=[*run.task_component, *answering.components],
        work=Work(split=split, task=task, one_by_one=answering.one_by_one, once=answering.model),
    )
    logits = np.load(run.compute(stage) / PREDICTIONS)
    # Labels are those of the data, and need not be kept.
    return Scored(logits, *labels_of_answers(encoded))
