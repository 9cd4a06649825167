"""A trained, quantized model to an artifact, and the proof that the artifact decides as the model does.

Parity: every runtime's graph is loaded in a fresh process and fed the raw rows of the whole test set. It holds when decisions (`tasks.differs`) are
not those of the fake-quantized model (CPU, float32, eval mode) on at most max(1, 0.1 %) of the units in ONNX Runtime and max(1, 0.5 %) elsewhere, and
the metric differs by no more than 0.002 plus one flip.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save
from torch import nn

from limbeck import evaluate, registry
from limbeck.card import card
from limbeck.quantize import convert
from limbeck.rescore import write_rows
from limbeck.runtime import GOLDEN, MANIFEST
from limbeck.sources import Row
from limbeck.store import file_digest, write_bytes, write_json
from limbeck.tasks import Encoded, Scored, Task, apart, collate, differs, is_known

ALLOWED = {"onnxruntime": 0.001}
ALLOWED_ELSEWHERE = 0.005
METRIC_TOLERANCE = 0.002
GOLDEN_ROWS = 4


@dataclass(frozen=True)
class Artifact:
    """What an export needs: the quantized model, its task, the recipe's text, the exporters' names, the card's metrics."""

    model: nn.Module
    task: Task
    task_name: str
    recipe: str
    exporters: Sequence[str]
    metrics: dict[str, float]
    formats: dict[str, str]


def write(artifact: Artifact, example: Sequence[Encoded], folder: Path) -> None:
    """Fill `folder`. `example`: rows to trace with, and whose shape the golden inputs take. Raises ValueError where kernels are missing."""
    folder.mkdir(exist_ok=True)
    task = artifact.task
    converted = convert(artifact.model)
    batch = collate(list(example[:GOLDEN_ROWS]), np.arange(len(example[:GOLDEN_ROWS])), task.padding)
    arrays = apart(batch.inputs)
    inputs = {name: torch.from_numpy(value) for name, value in arrays.items()}
    graphs = []
    for name in artifact.exporters:
        exporter = registry.create("exporters", name)
        graphs.append({"runtime": exporter.runtime, "role": "forward", "file": exporter.export(converted, inputs, folder)})
    write_bytes(folder / task.preprocess_file, task.preprocess.encode())
    write_json(folder / "labels.json", list(task.labels))
    write_bytes(folder / "recipe.yaml", artifact.recipe.encode())
    write_golden(graphs, arrays, folder)
    text = card(task=artifact.task_name, labels=list(task.labels), metrics=artifact.metrics, formats=artifact.formats, graphs=graphs)
    write_bytes(folder / "README.md", text.encode())
    files = {path.name: file_digest(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    write_json(folder / MANIFEST, {"schema": 1, "task": artifact.task_name, "graphs": graphs, "files": files})


def write_golden(graphs: Sequence[dict[str, str]], inputs: dict[str, np.ndarray], folder: Path) -> None:
    """Inputs drawn by a fixed seed (never a row of the user's data) and each runtime's outputs."""
    generator = np.random.default_rng(0)
    golden = {name: synthetic(value, generator) for name, value in inputs.items()}
    tensors = {f"input.{name}": value for name, value in golden.items()}
    for graph in graphs:
        exporter = next(e for e in map(lambda n: registry.create("exporters", n), registry.names("exporters")) if e.runtime == graph["runtime"])
        tensors[f"output.{graph['runtime']}"] = np.ascontiguousarray(exporter.open(folder / graph["file"], 1)(golden))
    write_bytes(folder / GOLDEN, save(tensors))


def synthetic(like: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Random values in the shape and range of `like`; a mask of ones stays one."""
    if like.dtype.kind == "f":
        return generator.standard_normal(like.shape).astype(like.dtype)
    low, high = int(like.min()), int(like.max())
    return np.full_like(like, high) if high <= 1 else generator.integers(low, high + 1, like.shape).astype(like.dtype)


def prove(artifact: Path, scored: Scored, rows: Sequence[Row], task: Task, graphs: Sequence[dict[str, str]], work: Path) -> list[dict[str, Any]]:
    """Parity of every graph with the fake-quantized model's answers `scored` on all test `rows`; `holds` says whether each does."""
    found = []
    write_rows(rows, work / "rows.jsonl.tmp")
    for graph in graphs:
        out = work / "rescored.tmp.npy"
        command = [sys.executable, "-m", "limbeck.rescore", str(artifact), graph["runtime"], str(work / "rows.jsonl.tmp"), str(out)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"the artifact does not load in {graph['runtime']}: {done.stderr.strip().splitlines()[-1]}")
        found.append(compare(scored, Scored(np.load(out), scored.labels, scored.offsets), task, graph["runtime"]))
        out.unlink()
    (work / "rows.jsonl.tmp").unlink()
    return found


def compare(scored: Scored, rescored: Scored, task: Task, runtime: str) -> dict[str, Any]:
    """One row of report.json's parity."""
    flips, units = int(differs(task, scored, rescored).sum()), int(is_known(scored.labels).sum())
    own, other = (evaluate.quality(each, task)[task.metric] for each in (scored, rescored))
    allowed = max(1.0, ALLOWED.get(runtime, ALLOWED_ELSEWHERE) * units)
    return {
        "runtime": runtime,
        "rows": len(scored.offsets) - 1,
        "units": units,
        "flips": flips,
        "agreement": 1 - flips / units,
        "max_abs_logit_difference": float(np.abs(scored.logits - rescored.logits).max()),
        "metric_difference": other - own,
        "holds": bool(flips <= allowed and abs(other - own) <= METRIC_TOLERANCE + 1 / (len(scored.offsets) - 1)),
    }
