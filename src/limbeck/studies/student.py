"""The float student whose formats are searched for, and the forms in which it is looked at."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from limbeck.analysis import timing
from limbeck.data.batches import in_order
from limbeck.models.running import run_model
from limbeck.models.torch_batches import batch_of
from limbeck.pipeline.arm import ask_teachers
from limbeck.pipeline.context import RunContext, use_machine
from limbeck.pipeline.steps.quantizing import activations, calibration_rows
from limbeck.pipeline.steps.student import cut_student
from limbeck.pipeline.steps.teacher import prepare_teacher
from limbeck.pipeline.steps.training import train_student
from limbeck.pipeline.stored_model import StoredModel
from limbeck.quantization.modules import attention
from limbeck.quantization.modules.swap import Quantized
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Quantize, Recipe, Scheme
from limbeck.tasks import Batch, Encoded

# Of a pass over the rows. A batch gives one sample of the curvature: the smaller batches are, the
# more independent samples there are.
BATCH_TOKENS = 512
BATCH_ROWS = 16

# The schemes of a plan, by module.
Schemes = dict[str, Scheme]


def train_float_student(recipe: Recipe, run: RunContext) -> tuple[StoredModel, Path]:
    """(the student before its training, the folder of its weights after it), never quantized."""
    recipe = recipe.model_copy(update={"quantize": None})
    use_machine(recipe)
    teacher = prepare_teacher(recipe, run) if recipe.teacher else None
    student = cut_student(recipe, run, teacher)
    objectives = ask_teachers(recipe, run, teacher, student)
    # A stage of the store: a run of the same recipe in float has trained it already.
    return student, train_student(recipe, run, student, objectives)


@dataclass(frozen=True)
class SearchedStudent:
    """The float student of a recipe, and the training rows that it is judged on.

    run: the run that it belongs to.
    recipe: its recipe, which quantizes.
    start: the student before its training.
    weights: the folder of its weights after it; None looks at the untrained student.
    """

    run: RunContext
    recipe: Recipe
    start: StoredModel
    weights: Path | None = None

    @property
    def settings(self) -> Quantize:
        """How the recipe quantizes."""
        assert self.recipe.quantize is not None
        return self.recipe.quantize

    @property
    def activations(self) -> str:
        """What the recipe stores activations as."""
        return activations(self.recipe, self.run)

    @cached_property
    def rows(self) -> list[Encoded]:
        """The training rows that it is judged on: those that ranges are fitted on."""
        return calibration_rows(self.recipe, self.run, self.start.task)

    def model(self) -> nn.Module:
        """A new float model, in eval mode, on the CPU."""
        # A new one each time: whoever asks swaps its modules.
        if self.weights is None:
            return self.start.load().eval()
        return self.start.trained(self.weights).eval()

    def prepared(self, schemes: Schemes) -> nn.Module:
        """A new model with its quantizers in place, none of them on."""
        model = self.model()
        # Preparation looks at who reads what, for which two rows do.
        two_rows = np.arange(min(2, len(self.rows)))
        forward = self.forward(two_rows)
        prepare_model(model, schemes, self.settings.range_name, forward)
        return model.eval()

    def forward(self, part: np.ndarray) -> Callable[[nn.Module], Any]:
        """Runs a model on some of the rows, by their numbers."""
        return partial(run_model, batch=self.batch(part))

    def batch(self, part: np.ndarray) -> Batch:
        """Some of the rows, by their numbers."""
        return batch_of(self.rows, part, self.start.task.padding)

    def batches(self) -> list[Batch]:
        """All rows."""
        sizes = [row.size for row in self.rows]
        budget = BATCH_TOKENS if self.rows[0].has_tokens else BATCH_ROWS
        return [self.batch(part) for part in in_order(sizes, budget)]


def with_value(schemes: Schemes, **values: str) -> Schemes:
    """The schemes, each with the same value for some of its keys."""
    return {name: scheme.model_copy(update=values) for name, scheme in schemes.items()}


def timed_model(
    student: SearchedStudent,
    swapped: nn.Module,
    schemes: Schemes,
) -> timing.TimedModel:
    """What is timed: the student on the training row of middle length.

    `swapped`: the student with its modules swapped and no activation quantized.
    """
    sizes = [row.size for row in student.rows]
    # Stable: of rows of one length, such as images, the middle one by number.
    by_size = np.argsort(sizes, kind="stable")
    middle = by_size[[len(by_size) // 2]]
    # A weight that is read past its layer stays float (`prepare.called`), and is not timed.
    modules = dict(swapped.named_modules())
    timed = {
        name: each for name, each in schemes.items() if isinstance(modules.get(name), Quantized)
    }
    # The plan's weights are not known yet: all integer formats take one time.
    whole = student.prepared(with_value(schemes, weights=timing.INTEGERS))
    if student.settings.attention != "float":
        attention.attach(whole, student.settings.range_name, student.forward(middle))
    inputs = student.batch(middle).inputs
    return timing.TimedModel(swapped, student.model(), whole, timed, inputs)
