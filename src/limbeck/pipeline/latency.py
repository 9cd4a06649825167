"""Milliseconds of every arm on raw test rows."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.artifact import latency
from limbeck.artifact.load import load
from limbeck.core.events import Ended, Started
from limbeck.core.files import read_json
from limbeck.evaluation.verdict import judged_arm
from limbeck.models.taps import run_model, to_torch
from limbeck.pipeline import speed_references
from limbeck.pipeline.context import Arm, Bench
from limbeck.reports import speed
from limbeck.tasks import collate


def measure(
    bench: Bench, arms: dict[str, list[Arm]], num_rows: int, threads: int
) -> tuple[dict[str, dict[str, Any]], dict[str, Any] | None]:
    """End-to-end milliseconds of every arm on raw test rows in order: float arms in PyTorch, artifacts in the fastest runtime they offer; and how the
    shipped artifact compares with its twins."""
    began = time.perf_counter()
    bench.store.tell(Started("latency"))
    torch.set_num_threads(threads)
    answerers: dict[tuple[str, str], Callable[[Any], Any]] = {}
    for name, runs in arms.items():
        run = runs[0]
        if run.artifact is None:
            answerers[name, "pytorch"] = pytorch_answerer(run)
            continue
        for graph in read_json(run.artifact / "manifest.json")["graphs"]:
            answerers[name, graph["runtime"]] = load(
                run.artifact, runtime=graph["runtime"], threads=threads
            ).predict
    rows = [latency.raw(row) for row in bench.data.test[:num_rows]]
    best, final = fastest(answerers, rows), judged_arm(arms)
    compared = compare(
        bench,
        arms[final][0],
        {each: answerers[each] for each in answerers if each[0] == final},
        rows,
        threads,
    )
    bench.store.tell(Ended("latency", round(time.perf_counter() - began, 3)))
    return {
        name: latency.summary(each, threads=threads, runtime=runtime)
        for name, (runtime, each) in best.items()
    }, compared


def fastest(
    answerers: dict[tuple[str, str], Callable[[Any], Any]], rows: list[Any]
) -> dict[str, tuple[str, np.ndarray]]:
    """Of each name the runtime where its p50 is the smallest, and its milliseconds by row; the answerers, by name and runtime, take turns."""
    measured = latency.latencies(
        {f"{name}/{runtime}": answer for (name, runtime), answer in answerers.items()}, rows
    )
    timed = [(name, runtime, measured[f"{name}/{runtime}"]) for name, runtime in answerers]
    return {
        name: min(
            ((r, ms) for owner, r, ms in timed if owner == name),
            key=lambda each: float(np.median(each[1])),
        )
        for name, _, _ in timed
    }


def compare(
    bench: Bench,
    arm: Arm,
    own: dict[tuple[str, str], Callable[[Any], Any]],
    rows: list[Any],
    threads: int,
) -> dict[str, Any] | None:
    """report.json's `speed`, in a round of its own: what answers right after PyTorch takes up to a tenth longer. None for a float arm."""
    if arm.artifact is None:
        return None
    with tempfile.TemporaryDirectory(prefix="twins-") as folder:
        found = speed_references.twins(bench, arm, Path(folder), threads)
        best = fastest(own | found.answerers, rows)
    (name,) = {owner for owner, _ in own}
    others = {form: best[form] for form in found.bytes}
    return {
        "arm": name,
        "formats": found.formats,
        "bytes": found.bytes,
        "threads": threads,
        **speed.compare(best[name], others),
    }


def pytorch_answerer(run: Arm) -> Callable[[Any], Any]:
    """A float model from raw input to decoded answer, as the artifact does it."""
    assert run.model is not None
    model, task = run.model().eval(), run.task

    def answer(given: Any) -> Any:
        row = task.row(given)
        batch = to_torch(collate(task.encode([row]), np.zeros(1, int), task.padding))
        with torch.inference_mode():
            return task.decode(row, run_model(model, batch).logits[0].numpy())

    return answer
