"""A module of the user's own as a graph, before anything is trained: what cannot be exported is
told in seconds, and not after hours.

A copy of the module, as it was handed over and in float, is written with every exporter of the
recipe that writes float models, and must answer in each runtime as it does in torch.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from limbeck.artifact.batches import run_graph
from limbeck.artifact.runtimes import open_graph
from limbeck.core.files import digest, write_json
from limbeck.exporters.requirements import exporters_of_float, package_versions
from limbeck.exporters.writing import GOLDEN_ROWS, read_with, write_graphs
from limbeck.models.anatomy.probe import answer
from limbeck.models.torch_batches import batch_of
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.stage import Stage
from limbeck.pipeline.steps.student import named_origin
from limbeck.tasks import Encoded, Task, apart
from limbeck.tasks.packed import averaged

# Of the largest logit. Runtimes add up in another order, which is a millionth; a graph that is not
# the module's is off by tenths.
TOLERANCE = 1e-2

TRACED = "traced.json"


def trace_own_student(run: RunContext) -> None:
    """Export and answer with the module that the student is, or is cut from; nothing where that is
    none of the user's own, or no artifact is asked for.

    Raises ValueError for a module that no graph can be made of, with the line where torch knows it.
    """
    recipe = run.recipe
    name, _ = named_origin(recipe)
    exporters = exporters_of_float(recipe.export) if recipe.quantize else []
    if name not in run.own or not exporters:
        return
    task = run.new_task(name)

    def build(folder: Path) -> None:
        model = run.create(name, {}, task, seed=recipe.train.seed).cpu().eval()
        encoded = run.encode("train", task)[:GOLDEN_ROWS]
        largest = largest_difference(model, task, encoded, exporters)
        for runtime, difference in largest.items():
            if difference > TOLERANCE:
                raise ValueError(
                    f"model `{name}`: its graph answers otherwise in {runtime} than the module in "
                    f"torch (by {difference:.1%} of the largest logit), so what is trained would "
                    "not be what an artifact answers. Look for random numbers, or a state that a "
                    "forward changes"
                )
        write_json(folder / TRACED, largest)

    stage = Stage(
        name="trace",
        inputs={
            "model": run.reference(name, {}),
            "preprocess": digest(task.preprocess),
            "exporters": exporters,
            "packages": package_versions(exporters),
            **run.environment(),
        },
        build=build,
        components=[*run.task_component, *(("exporters", name) for name in exporters)],
    )
    run.compute(stage)


def largest_difference(
    model: nn.Module,
    task: Task,
    encoded: Sequence[Encoded],
    exporters: Sequence[str],
) -> dict[str, float]:
    """By runtime: how far a graph's logits are from the model's, as a share of the largest."""
    batch = batch_of(encoded, np.arange(len(encoded)), task.padding)
    inputs = dict(apart(batch.inputs))
    expected = []
    for row in encoded:
        logits = answer(model, task, [row]).logits[0].numpy()
        expected.append(averaged(row, logits))
    largest = max(float(np.abs(logits).max()) for logits in expected)
    differences = {}
    with tempfile.TemporaryDirectory(prefix="trace-") as place:
        # A folder of its own: what others write beside it, in the system's, is no exporter's.
        folder = Path(place) / "graphs"
        folder.mkdir()
        files = write_graphs(model, exporters, inputs, folder, read_with(task))
        for runtime, file in files.items():
            graph = open_graph(folder / file, runtime, 1)
            answers = [run_graph(graph, row) for row in encoded]
            worst = max(
                float(np.abs(found - logits).max())
                for found, logits in zip(answers, expected, strict=True)
            )
            differences[runtime] = worst / max(largest, torch.finfo(torch.float32).tiny)
    return differences
