"""A trained, quantized model to an artifact, and the proof that the artifact decides as the model does.

Parity: every runtime's graph is loaded in a fresh process and fed the raw rows of the whole test set. It holds when decisions (`tasks.differs`) are
not those of the fake-quantized model (CPU, float32, eval mode) on at most max(1, 0.1 %) of the units in ONNX Runtime and max(1, 0.5 %) elsewhere, and
the metric differs by no more than 0.002 plus one flip.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save
from torch import nn

from limbeck.artifact.card import card
from limbeck.artifact.manifest import GOLDEN, MANIFEST
from limbeck.core import registry
from limbeck.core.files import file_digest, write_bytes, write_json
from limbeck.quantization.conversion import convert_model
from limbeck.tasks import Encoded, Task, apart, collate

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
    converted = convert_model(artifact.model)
    batch = collate(
        list(example[:GOLDEN_ROWS]), np.arange(len(example[:GOLDEN_ROWS])), task.padding
    )
    arrays = apart(batch.inputs)
    inputs = {name: torch.from_numpy(value) for name, value in arrays.items()}
    graphs = []
    for name in artifact.exporters:
        exporter = registry.create("exporters", name)
        graphs.append(
            {
                "runtime": exporter.runtime,
                "role": "forward",
                "file": exporter.export(converted, inputs, folder),
            }
        )
    write_bytes(folder / task.preprocess_file, task.preprocess.encode())
    write_json(folder / "labels.json", list(task.labels))
    write_bytes(folder / "recipe.yaml", artifact.recipe.encode())
    write_golden(graphs, arrays, folder)
    text = card(
        task=artifact.task_name,
        labels=list(task.labels),
        metrics=artifact.metrics,
        formats=artifact.formats,
        graphs=graphs,
    )
    write_bytes(folder / "README.md", text.encode())
    files = {
        path.name: file_digest(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST
    }
    write_json(
        folder / MANIFEST,
        {"schema": 1, "task": artifact.task_name, "graphs": graphs, "files": files},
    )


def write_golden(
    graphs: Sequence[dict[str, str]], inputs: dict[str, np.ndarray], folder: Path
) -> None:
    """Inputs drawn by a fixed seed (never a row of the user's data) and each runtime's outputs."""
    generator = np.random.default_rng(0)
    golden = {name: synthetic(value, generator) for name, value in inputs.items()}
    tensors = {f"input.{name}": value for name, value in golden.items()}
    for graph in graphs:
        exporter = next(
            e
            for e in map(lambda n: registry.create("exporters", n), registry.names("exporters"))
            if e.runtime == graph["runtime"]
        )
        tensors[f"output.{graph['runtime']}"] = np.ascontiguousarray(
            exporter.open(folder / graph["file"], 1)(golden)
        )
    write_bytes(folder / GOLDEN, save(tensors))


def synthetic(like: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Random values in the shape and range of `like`; a mask of ones stays one."""
    if like.dtype.kind == "f":
        return generator.standard_normal(like.shape).astype(like.dtype)
    low, high = int(like.min()), int(like.max())
    return (
        np.full_like(like, high)
        if high <= 1
        else generator.integers(low, high + 1, like.shape).astype(like.dtype)
    )
