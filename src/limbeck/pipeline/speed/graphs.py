"""Graphs that are timed beside an artifact: of a float model, or of the student in int8.

Time does not hang on the values of weights: a student's graph is of its weights before training. It
is written by the recipe's own exporters, so that nothing differs from the artifact but what is to;
a float graph by those of them that write float models.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from torch import nn

from limbeck.core.files import digest, read_json, write_json
from limbeck.core.foreign import told_as
from limbeck.exporters.requirements import exporters_of_float, package_versions
from limbeck.exporters.writing import read_with, write_graphs
from limbeck.models.running import run_model
from limbeck.models.torch_batches import to_torch
from limbeck.models.weights import WEIGHTS
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.stage import Stage
from limbeck.pipeline.steps.quantizing import activations, quantization_code
from limbeck.pipeline.stored_model import StoredModel
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Recipe, Scheme
from limbeck.tasks import Batch, apart, collate

# Which file each runtime opens, in the folder of the stage.
FILES = "graphs.json"
# Rows to trace with, and to fit ranges to, whose values time does not hang on.
EXAMPLES = 4


@dataclass(frozen=True)
class Untrained:
    """A model whose graph is timed, and a few rows.

    model: of weights that no answer is asked of.
    schemes: of each module that is quantized; none of a float graph.
    range_name: how their ranges are fitted.
    """

    model: StoredModel
    schemes: Mapping[str, Scheme]
    range_name: str = ""

    def example(self, run: RunContext) -> Batch:
        """The rows to trace with."""
        task = self.model.task
        rows = list(run.encode("test", task)[:EXAMPLES])
        return to_torch(collate(rows, np.arange(len(rows)), task.padding))

    def built(self, example: Batch) -> nn.Module:
        """The model with these schemes, its ranges fitted to the rows."""
        model = self.model.load().eval()
        # On the rows that it is traced with: a scale must be there, whatever it is.
        if self.schemes:
            forward = partial(run_model, batch=example)
            prepare_model(model, dict(self.schemes), self.range_name, forward)
            calibrate(model, [forward])
        return model


def write_untrained(
    untrained: Untrained, example: Batch, exporters: tuple[str, ...], folder: Path
) -> None:
    """Write the graphs, and which file each runtime opens."""
    inputs = dict(apart(example.inputs))
    beside = read_with(untrained.model.task)
    files = write_graphs(untrained.built(example), exporters, inputs, folder, beside)
    write_json(folder / FILES, files)


def graphs_of(run: RunContext, recipe: Recipe, untrained: Untrained) -> dict[str, Path]:
    """The graphs, by runtime, kept in the store: of a float model those of the exporters that write
    one, perhaps none.

    Raises ValueError where the model cannot be exported.
    """
    exporters = recipe.export if untrained.schemes else exporters_of_float(recipe.export)
    if not exporters:
        return {}

    def build(folder: Path) -> None:
        # A network that nobody exports today may fail anywhere in the tracing.
        with told_as(ValueError):
            write_untrained(untrained, untrained.example(run), tuple(exporters), folder)

    forms = {name: scheme.model_dump() for name, scheme in untrained.schemes.items()}
    stage = Stage(
        name="graph",
        inputs={
            # Of the weights too, though time does not hang on them: the graph holds them.
            "model": untrained.model.key,
            "schemes": forms,
            "range": untrained.range_name,
            "data": run.fingerprint("test"),
            "exporters": list(exporters),
            "packages": package_versions(exporters),
            **run.environment(),
        },
        build=build,
        components=[
            *run.task_component,
            *(quantization_code(recipe.quantize) if recipe.quantize else ()),
            *(("exporters", name) for name in exporters),
        ],
        title=f"graph of {untrained.model.name}",
    )
    folder = run.compute(stage)
    files: dict[str, str] = read_json(folder / FILES)
    return {runtime: folder / file for runtime, file in files.items()}


def in_int8(recipe: Recipe, run: RunContext, student: StoredModel) -> Untrained | None:
    """The student in int8 throughout; None where the recipe's plan is that already."""
    settings = recipe.quantize
    assert settings is not None
    schemes = plan_schemes(student.load(), settings, activations(recipe, run))
    # What the recipe keeps in float stays so: only the format of weights differs.
    all_int8 = {name: int8_scheme(scheme) for name, scheme in schemes.items()}
    if all_int8 == schemes:
        return None
    return Untrained(student, all_int8, settings.range_name)


def formats_of(recipe: Recipe, run: RunContext, student: StoredModel) -> list[str]:
    """The weight formats of an artifact, each once."""
    assert recipe.quantize is not None
    schemes = plan_schemes(student.load(), recipe.quantize, activations(recipe, run))
    return list(dict.fromkeys(scheme.weights for scheme in schemes.values()))


def int8_scheme(scheme: Scheme) -> Scheme:
    """A scheme with int8 weights: a scale a channel, activations that an integer product takes."""
    # Runtimes of text generation multiply by groups, whatever the bits.
    if scheme.scale == "float16":
        return scheme.model_copy(update={"weights": "int8"})
    activations_format = scheme.activations
    # Beside float activations weights would be multiplied in float, and int8 save no time.
    if activations_format == "float":
        activations_format = "uint8"
    return Scheme(weights="int8", activations=activations_format)


def structure_key(model: StoredModel) -> str:
    """What two models share that take the same time: all of their files but the values of weights,
    of which the shapes."""
    shapes: dict[str, Any] = {}
    with safe_open(model.folder / WEIGHTS, "np") as file:
        for name in file.keys():  # noqa: SIM118, no dict
            tensor = file.get_slice(name)
            shapes[name] = [tensor.get_dtype(), tensor.get_shape()]
    # Such as config.json, and the tokenizer: it is part of what is timed.
    others = {name: content for name, content in model.content().items() if name != WEIGHTS}
    return digest([shapes, others])
