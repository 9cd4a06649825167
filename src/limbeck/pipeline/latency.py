"""Milliseconds of every arm on raw test rows, from raw input to decoded answer."""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.artifact import inputs, latency, speed_ratio
from limbeck.artifact.load import load
from limbeck.core.events import Ended, Started
from limbeck.core.files import read_json
from limbeck.evaluation.verdict import judged_arm
from limbeck.models.running import run_model
from limbeck.models.torch_batches import to_torch
from limbeck.pipeline.arm import Arm
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.steps.speed_references import speed_references
from limbeck.tasks import collate

Answer = Callable[[Any], Any]
Answerers = dict[tuple[str, str], Answer]  # by arm, or format of a reference, and runtime
PYTORCH = "pytorch"


def measure_arms(
    run: RunContext, arms: Mapping[str, list[Arm]], num_rows: int, threads: int
) -> tuple[dict[str, dict[str, Any]], dict[str, Any] | None]:
    """How long every arm takes for one row, and how the shipped artifact compares.

    Float arms answer in PyTorch, artifacts in the fastest runtime that they offer.

    Returns:
        (p50 and p99 in milliseconds by arm, report.json's `speed`; None for a float arm).
    """
    began = time.perf_counter()
    run.store.tell(Started("latency"))
    torch.set_num_threads(threads)
    answerers: Answerers = {}
    for name, (arm, *_) in arms.items():
        for runtime, answer in answerers_of(arm, threads).items():
            answerers[name, runtime] = answer
    rows = [inputs.raw(row) for row in run.data.test[:num_rows]]
    best = fastest(answerers, rows)
    shipped = judged_arm(arms)
    own = {key: answer for key, answer in answerers.items() if key[0] == shipped}
    compared = compare(run, arms[shipped][0], own, rows, threads)
    run.store.tell(Ended("latency", round(time.perf_counter() - began, 3)))
    summaries = {
        name: latency.summary(milliseconds, threads=threads, runtime=runtime)
        for name, (runtime, milliseconds) in best.items()
    }
    return summaries, compared


def answerers_of(arm: Arm, threads: int) -> dict[str, Answer]:
    """What answers raw input, by runtime: PyTorch for a float arm, else those of the artifact."""
    if arm.artifact is None:
        return {PYTORCH: pytorch_answerer(arm)}
    folder = arm.artifact.folder
    runtimes = [graph["runtime"] for graph in read_json(folder / "manifest.json")["graphs"]]
    return {runtime: load(folder, runtime=runtime, threads=threads).predict for runtime in runtimes}


def pytorch_answerer(arm: Arm) -> Answer:
    """A float model from raw input to decoded answer, as an artifact does it."""
    model = arm.model().eval()
    task = arm.task

    def answer(given: Any) -> Any:
        row = task.row(given)
        batch = to_torch(collate(task.encode([row]), np.zeros(1, int), task.padding))
        with torch.inference_mode():
            return task.decode(row, run_model(model, batch).logits[0].numpy())

    return answer


def fastest(answerers: Answerers, rows: list[Any]) -> dict[str, tuple[str, np.ndarray]]:
    """Of each name the runtime whose median is the smallest; all take turns.

    Returns:
        (runtime, milliseconds of each row) by name.
    """
    titles = {key: "/".join(key) for key in answerers}
    measured = latency.latencies({titles[key]: each for key, each in answerers.items()}, rows)
    best: dict[str, tuple[str, np.ndarray]] = {}
    for key, title in titles.items():
        name, runtime = key
        milliseconds = measured[title]
        if name not in best or np.median(milliseconds) < np.median(best[name][1]):
            best[name] = (runtime, milliseconds)
    return best


def compare(
    run: RunContext, arm: Arm, own: Answerers, rows: list[Any], threads: int
) -> dict[str, Any] | None:
    """report.json's `speed`: the artifact beside the same student in int8 and in float32.

    It is a round of its own: what answers right after PyTorch takes up to a tenth longer. None for
    a float arm.
    """
    if arm.artifact is None:
        return None
    with tempfile.TemporaryDirectory(prefix="speed-references-") as folder:
        references = speed_references(
            arm.recipe, run, arm.student, arm.artifact.folder, Path(folder), threads
        )
        best = fastest(own | references.answerers, rows)
    (name,) = {owner for owner, _ in own}
    others = {form: best[form] for form in references.bytes}
    return {
        "arm": name,
        "formats": references.formats,
        "bytes": references.bytes,
        "threads": threads,
        **speed_ratio.compare(best[name], others),
    }
