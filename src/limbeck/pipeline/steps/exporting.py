"""The artifact, and the proof that it decides as the model that was trained does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from limbeck.artifact.manifest import graphs_in
from limbeck.artifact.proof import parity
from limbeck.core.files import read_json, write_json
from limbeck.exporters import writing
from limbeck.exporters.requirements import package_versions, runtimes_of
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.deciding.making import SPLITS, Answers, fit_decision, read_answers
from limbeck.pipeline.deciding.referring import write_reference
from limbeck.pipeline.stage import ExportWork, Stage, Work
from limbeck.pipeline.steps.quantizing import activations, quantization_code
from limbeck.quantization.last_bits import move_last_bits
from limbeck.recipe import reading
from limbeck.recipe.model import Recipe
from limbeck.tasks import Encoded, Scored, Task
from limbeck.training.scoring import score_split

# The proof, in the folder of the stage; the artifact's manifest does not cover it.
PARITY = "parity.json"


@dataclass(frozen=True)
class ProvenArtifact:
    """An artifact, and what was proven of it.

    folder: the artifact's.
    parity: a row for each runtime, as report.json has it.
    answers: its own logits, in the runtime that opens it by default, and how it decides by them.
    num_bytes: of the first graph and all that it needs.
    """

    folder: Path
    parity: list[dict[str, Any]]
    answers: Answers
    num_bytes: int

    @property
    def scored(self) -> Scored:
        """What it answers to the test split, as a user is answered."""
        return self.answers.decided


def export_artifact(
    recipe: Recipe,
    run: RunContext,
    weights: Path,
    model: Callable[[], nn.Module],
    scored: Scored,
    task: Task,
) -> ProvenArtifact:
    """The artifact of an arm that quantizes, scored again on the whole test split.

    Args:
        recipe: the arm's, with nothing left open.
        run: what the arms share.
        weights: the folder whose name stands for the weights.
        model: builds the fake-quantized model.
        scored: its answers on the test split, which the artifact is held against.
        task: with the student's preprocessing.
    """
    settings = recipe.quantize
    assert settings is not None
    # Portable: paths of this machine would make two artifacts of one.
    text = reading.write(recipe, portable=True)
    encoded = run.encode("test", task)

    def write(student: nn.Module, folder: Path) -> None:
        content = writing.Artifact(student, task, recipe.task, text, recipe.export)
        # Beside what else the stage writes: of an artifact's folder the manifest covers every file.
        artifact = folder / "artifact"
        writing.write(content, encoded, artifact)
        fit_decision(recipe.decide, run, task, artifact, folder)
        write_reference(run, task, artifact, folder)

    # As `student_answering` has it asked.
    one_by_one = activations(recipe, run) == "uint8-dynamic"
    moved = partial(with_moved_bits, model, encoded, task, one_by_one=one_by_one)
    prove = partial(prove_artifact, moved, scored, run, task)

    def build(folder: Path) -> None:
        student = model()
        run.export(ExportWork(student, partial(write, student), prove), folder)

    stage = Stage(
        name="export",
        inputs={
            "weights": weights.name,
            "data": [run.fingerprint(split) for split in ("test", *SPLITS)],
            "exporters": list(recipe.export),
            "recipe": text,
            "packages": package_versions(recipe.export),
            **run.environment(),
        },
        build=build,
        components=[
            *run.task_component,
            *quantization_code(settings),
            *(("exporters", name) for name in recipe.export),
            *(("runtimes", name) for name in runtimes_of(recipe.export)),
        ],
        work=Work(split="test", task=task, one_by_one=True),
    )
    folder = run.compute(stage)
    artifact = folder / "artifact"
    return ProvenArtifact(
        folder=artifact,
        parity=read_json(folder / PARITY),
        answers=read_answers(run, task, artifact, folder),
        num_bytes=_bytes_of_one(artifact),
    )


def prove_artifact(
    moved: Callable[[], Sequence[np.ndarray]],
    scored: Scored,
    run: RunContext,
    task: Task,
    folder: Path,
    *,
    asks_last_bits: bool = True,
) -> None:
    """Write the proof of the artifact in a stage's folder (`stage.Prove`).

    Args:
        moved: the model's logits with last bits moved, once for each draw.
        scored: the model's answers on the test split.
        run: whose test rows the artifact answers.
        task: with the student's preprocessing.
        folder: the stage's.
        asks_last_bits: whether `moved` may excuse answers that differ.
    """
    excuses = moved if asks_last_bits else tuple
    # From raw rows, in a fresh process for each graph.
    proof = parity.prove(folder / "artifact", scored, run.data.test, task, folder, excuses)
    write_json(folder / PARITY, proof)


def with_moved_bits(
    model: Callable[[], nn.Module],
    encoded: Sequence[Encoded],
    task: Task,
    *,
    one_by_one: bool,
) -> list[np.ndarray]:
    """The logits of what `model` builds on some rows with last bits moved, once for each draw."""
    draws = []
    for seed in range(parity.num_draws(len(encoded))):
        moved = move_last_bits(model(), seed)
        draws.append(score_split(moved, encoded, task, one_by_one=one_by_one).logits)
    return draws


def _bytes_of_one(artifact: Path) -> int:
    """The bytes of the first graph and of what it needs beside it."""
    # Each runtime opens one of them, so that nobody needs all.
    first, *others = [graph["file"] for graph in graphs_in(artifact)]
    # Two runtimes may open the same file.
    left_out = set(others) - {first}
    return sum(path.stat().st_size for path in artifact.iterdir() if path.name not in left_out)
