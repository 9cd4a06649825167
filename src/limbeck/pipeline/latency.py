"""Milliseconds of every arm on raw test rows, from raw input to decoded answer."""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.artifact import latency, speed_ratio
from limbeck.artifact.load import load
from limbeck.artifact.rows import inputs
from limbeck.core.events import Ended, Started
from limbeck.core.files import read_json
from limbeck.evaluation.verdict import judged_arm
from limbeck.models.running import run_model
from limbeck.models.torch_batches import to_torch
from limbeck.pipeline.arm import Arm
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.steps.speed_references import speed_references
from limbeck.tasks import collate
from limbeck.tasks.packed import averaged

# From raw input to decoded answer.
Answer = Callable[[Any], Any]
# By (arm, or format of a reference; runtime).
Answerers = dict[tuple[str, str], Answer]
# What a float arm's runtime is called in a report.
PYTORCH = "pytorch"


def measure_arms(
    run: RunContext,
    arms: Mapping[str, list[Arm]],
    num_rows: int,
    threads: int,
) -> tuple[dict[str, dict[str, Any]], dict[str, Any] | None]:
    """How long every arm takes for one row, and how the shipped artifact compares.

    Float arms answer in PyTorch, artifacts in the fastest runtime that they offer; of each arm the
    first seed, since time does not hang on the values of weights.

    Args:
        run: what the arms share.
        arms: every seed of each arm.
        num_rows: how many rows of the test split are timed.
        threads: with which all answer.

    Returns:
        (p50 and p99 in milliseconds by arm, report.json's `speed`; None for a float arm).
    """
    # No stage of the store: what a machine takes today is measured today.
    began = time.perf_counter()
    run.store.tell(Started("latency"))
    torch.set_num_threads(threads)
    # 1. Everything is opened before anything is timed.
    answerers: Answerers = {}
    for name, seeds in arms.items():
        for runtime, answer in answerers_of(seeds[0], threads).items():
            answerers[name, runtime] = answer
    # 2. The arms, in turn.
    timed = run.data.test[:num_rows]
    rows = [inputs.raw(row) for row in timed]
    best = fastest(answerers, rows)
    # 3. The shipped artifact beside its references.
    shipped = judged_arm(arms)
    own: Answerers = {}
    for (name, runtime), answer in answerers.items():
        if name == shipped:
            own[name, runtime] = answer
    compared = compare(run, arms[shipped][0], own, rows, threads)
    seconds = time.perf_counter() - began
    run.store.tell(Ended("latency", round(seconds, 3)))
    summaries: dict[str, dict[str, Any]] = {}
    for name, (runtime, milliseconds) in best.items():
        summaries[name] = latency.summary(
            milliseconds,
            threads=threads,
            runtime=runtime,
        )
    return summaries, compared


def answerers_of(arm: Arm, threads: int) -> dict[str, Answer]:
    """What answers raw input, by runtime: PyTorch for a float arm, else those of the artifact."""
    if arm.artifact is None:
        return {PYTORCH: pytorch_answerer(arm)}
    folder = arm.artifact.folder
    manifest = read_json(folder / "manifest.json")
    answerers: dict[str, Answer] = {}
    for graph in manifest["graphs"]:
        runtime = graph["runtime"]
        predictor = load(folder, runtime=runtime, threads=threads)
        answerers[runtime] = predictor.predict
    return answerers


def pytorch_answerer(arm: Arm) -> Answer:
    """A float model from raw input to decoded answer, as an artifact does it."""
    model = arm.model().eval()
    task = arm.task

    def answer(given: Any) -> Any:
        row = task.row(given)
        encoded = task.encode([row])
        batch = to_torch(collate(encoded, np.zeros(1, int), task.padding))
        with torch.inference_mode():
            outputs = run_model(model, batch)
            # An arm's model lies on the CPU, as a verdict is measured there.
            return task.decode(row, averaged(encoded[0], outputs.logits[0].numpy()))

    return answer


def fastest(
    answerers: Answerers,
    rows: list[Any],
) -> dict[str, tuple[str, np.ndarray]]:
    """Of each name the runtime whose median is the smallest; all take turns.

    Args:
        answerers: by (name, runtime).
        rows: raw inputs.

    Returns:
        (runtime, milliseconds of each row) by name.
    """
    # `latencies` knows its answerers by one word each.
    by_title: dict[str, Answer] = {}
    for (name, runtime), answer in answerers.items():
        by_title[f"{name}/{runtime}"] = answer
    measured = latency.latencies(by_title, rows)
    best: dict[str, tuple[str, np.ndarray]] = {}
    smallest: dict[str, float] = {}
    for name, runtime in answerers:
        milliseconds = measured[f"{name}/{runtime}"]
        median = float(np.median(milliseconds))
        if median < smallest.get(name, np.inf):
            smallest[name] = median
            best[name] = (runtime, milliseconds)
    return best


def compare(
    run: RunContext,
    arm: Arm,
    own: Answerers,
    rows: list[Any],
    threads: int,
) -> dict[str, Any] | None:
    """report.json's `speed`: the artifact beside the same student in int8 and in float32.

    It is a round of its own: what answers right after PyTorch takes up to a tenth longer.

    Args:
        run: what the arms share.
        arm: the shipped one.
        own: what answers of it, by (its name, runtime).
        rows: raw inputs.
        threads: with which all answer.

    Returns:
        None for a float arm.
    """
    if arm.artifact is None:
        return None
    # Graphs of the references are read while they answer, and thrown away with the folder.
    with tempfile.TemporaryDirectory(prefix="speed-references-") as folder:
        references = speed_references(
            arm.recipe,
            run,
            arm.student,
            arm.artifact.folder,
            Path(folder),
            threads,
        )
        best = fastest(own | references.answerers, rows)
    # `own` is of one arm.
    (name,) = {owner for owner, _ in own}
    others = {form: best[form] for form in references.bytes}
    return {
        "arm": name,
        "formats": references.formats,
        "bytes": references.bytes,
        "threads": threads,
        **speed_ratio.compare(best[name], others),
    }
