"""Is the format slower than what it replaces?

The same student with int8 weights, and in float32, is exported as the artifact is and timed beside
it. Time does not hang on the values of weights: a reference is the untrained student, with the
module plan of the artifact's arm but int8 weights, a scale for each output channel and integer
activations (`int8`), or with no quantizer at all (`float`), in each runtime that the artifact
offers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from limbeck.artifact.load import load
from limbeck.artifact.predictor import Predictor
from limbeck.artifact.runtimes import open_graph
from limbeck.exporters.writing import write_graphs
from limbeck.models.running import run_model
from limbeck.models.torch_batches import to_torch
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.steps.quantizing import activations
from limbeck.pipeline.stored_model import StoredModel
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Recipe, Scheme
from limbeck.tasks import Batch, apart, collate

INT8 = "int8"
FLOAT = "float"
# Rows to trace with, and to fit ranges to, whose values time does not hang on.
EXAMPLES = 4


@dataclass(frozen=True)
class SpeedReferences:
    """What an artifact is timed beside.

    formats: the weight formats of the artifact itself.
    answerers: how each reference answers, by its format and runtime.
    bytes: of each format's first graph.
    """

    formats: list[str]
    answerers: dict[tuple[str, str], Callable[[Any], Any]]
    bytes: dict[str, int]


@dataclass(frozen=True)
class UntrainedStudent:
    """A student before its training, how a recipe quantizes it, and a few rows.

    student: before its training.
    range_name: the recipe's range.
    schemes: of each module that is quantized, by its name.
    example: the rows to trace with.
    """

    student: StoredModel
    range_name: str
    schemes: dict[str, Scheme]
    example: Batch

    @classmethod
    def of(cls, recipe: Recipe, run: RunContext, student: StoredModel) -> "UntrainedStudent":
        """What a recipe that quantizes says of a student."""
        assert recipe.quantize is not None
        schemes = plan_schemes(student.load(), recipe.quantize, activations(recipe, run))
        rows = list(run.encode("test", student.task)[:EXAMPLES])
        example = to_torch(collate(rows, np.arange(len(rows)), student.task.padding))
        return cls(student, recipe.quantize.range_name, schemes, example)

    def quantized(self, schemes: dict[str, Scheme]) -> nn.Module:
        """The student with these schemes, its ranges fitted to the rows; float with none."""
        model = self.student.load().eval()
        # On the rows that it is traced with: a scale must be there, whatever it is.
        if schemes:
            forward = partial(run_model, batch=self.example)
            prepare_model(model, schemes, self.range_name, forward)
            calibrate(model, [forward])
        return model


def speed_references(
    recipe: Recipe,
    run: RunContext,
    student: StoredModel,
    artifact: Path,
    folder: Path,
    threads: int,
) -> SpeedReferences:
    """The references that say something new: int8 where some scheme is another; float always.

    Args:
        recipe: of the artifact's arm.
        run: what the arms share.
        student: before its training.
        artifact: its folder.
        folder: takes the references' graphs, which the answerers read while they live.
        threads: with which they answer.
    """
    untrained = UntrainedStudent.of(recipe, run, student)
    schemes = untrained.schemes
    all_int8 = {name: in_int8(scheme) for name, scheme in schemes.items()}
    # Where the artifact is int8 throughout, that reference would be the artifact again.
    forms = [FLOAT] if all_int8 == schemes else [INT8, FLOAT]
    # What the artifact itself reads texts and images with.
    task = load(artifact).task
    formats: list[str] = list(dict.fromkeys(scheme.weights for scheme in schemes.values()))
    references = SpeedReferences(formats, {}, {})
    inputs = dict(apart(untrained.example.inputs))
    for form in forms:
        model = untrained.quantized(all_int8 if form == INT8 else {})
        place = folder / form
        place.mkdir()
        # By the recipe's own exporters, so that nothing but the format differs.
        graphs = write_graphs(model, recipe.export, inputs, place)
        for runtime, file in graphs.items():
            graph = open_graph(place / file, runtime, threads)
            predictor = Predictor(task, graph, runtime, place)
            references.answerers[form, runtime] = predictor.predict
            # The first graph's, as the artifact's own bytes are those of one graph.
            references.bytes.setdefault(form, (place / file).stat().st_size)
    return references


def in_int8(scheme: Scheme) -> Scheme:
    """A scheme with int8 weights: a scale a channel, activations that an integer product takes."""
    activations_format = scheme.activations
    # Beside float activations weights would be multiplied in float, and int8 save no time.
    if activations_format == "float":
        activations_format = "uint8"
    return Scheme(weights="int8", activations=activations_format)
