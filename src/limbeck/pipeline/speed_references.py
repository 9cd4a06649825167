"""Is the format slower than what it replaces? The same student with int8 weights, and in float32, exported as the artifact is and timed beside it.

Time does not hang on the values of weights: a twin is the untrained student, with the module plan of the artifact's arm but int8 weights, a scale
for each output channel and integer activations (`int8`), or with no quantizer at all (`float`), in each runtime that the artifact offers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from limbeck.artifact.load import load
from limbeck.artifact.predictor import Predictor
from limbeck.core import registry
from limbeck.core.files import read_json
from limbeck.models.taps import run_model, to_torch
from limbeck.pipeline import stages
from limbeck.pipeline.context import Arm, Bench, Net
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Quantize, Recipe, Scheme
from limbeck.tasks import Batch, apart, collate

INT8, FLOAT = "int8", "float"
EXAMPLES = 4  # rows to trace with


@dataclass(frozen=True)
class Subject:
    """A student before its training, how a recipe quantizes it (`schemes` by module name), and a few rows."""

    start: Net
    settings: Quantize
    schemes: dict[str, Scheme]
    example: Batch

    @classmethod
    def of(cls, bench: Bench, recipe: Recipe, start: Net) -> "Subject":
        """What a recipe that quantizes says of a student."""
        assert recipe.quantize is not None
        schemes = plan_schemes(start.load(), recipe.quantize, stages.activations(bench, recipe))
        rows = list(bench.encode("test", start.task)[:EXAMPLES])
        return cls(
            start,
            recipe.quantize,
            schemes,
            to_torch(collate(rows, np.arange(len(rows)), start.task.padding)),
        )


@dataclass
class Twins:
    """Of one artifact: its own weight formats, how each twin answers by form and runtime, and the bytes of its first graph."""

    formats: list[str] = field(default_factory=list)
    answerers: dict[tuple[str, str], Callable[[Any], Any]] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)


def twins(bench: Bench, arm: Arm, folder: Path, threads: int) -> Twins:
    """The twins that say something new: int8 where some scheme is another; float always. `folder` takes their graphs."""
    assert arm.start is not None and arm.artifact is not None
    subject = Subject.of(bench, arm.recipe, arm.start)
    exporters = {
        exporter.runtime: exporter
        for exporter in (registry.create("exporters", name) for name in registry.names("exporters"))
    }
    offered = [graph["runtime"] for graph in read_json(arm.artifact / "manifest.json")["graphs"]]
    task = load(arm.artifact).task  # what the artifact itself reads texts and images with
    found = Twins(list(dict.fromkeys(scheme.weights for scheme in subject.schemes.values())))
    whole = {name: in_int8(scheme) for name, scheme in subject.schemes.items()}
    for form in [INT8, FLOAT] if whole != subject.schemes else [FLOAT]:
        model = twin(subject, whole if form == INT8 else {})
        for runtime in offered:
            (place := folder / form / runtime).mkdir(parents=True)
            path = place / exporters[runtime].export(
                convert_model(model), apart(subject.example.inputs), place
            )
            found.answerers[form, runtime] = Predictor(
                task, exporters[runtime].open(path, threads), runtime, place
            ).predict
            found.bytes.setdefault(form, path.stat().st_size)
    return found


def in_int8(scheme: Scheme) -> Scheme:
    """A scheme as it would be with int8 weights: a scale for each channel, activations that an integer product takes."""
    return Scheme(
        weights="int8",
        activations="uint8-dynamic" if scheme.activations == "uint8-dynamic" else "uint8",
    )


def twin(subject: Subject, schemes: dict[str, Scheme]) -> nn.Module:
    """The untrained student with these schemes, its ranges fitted to a few rows; with none it is float."""
    model = subject.start.load().eval()
    if schemes:
        forward = partial(run_model, batch=subject.example)
        prepare_model(model, schemes, subject.settings.range_name, forward)
        calibrate(model, [forward])
    return model
