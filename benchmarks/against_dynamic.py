"""An artifact beside what a user has without limbeck: the same float model through ONNX Runtime's
own dynamic int8 quantization.

    python benchmarks/against_dynamic.py RECIPE [key=value ...] [--rows N]

Takes the teacher and the joint student of a recipe (from the store), exports the float teacher and
the float distilled student, quantizes both with
`onnxruntime.quantization.quantize_dynamic`, and times all in turns on raw test rows: quality,
bytes, p50, ratio to the PyTorch float32 teacher.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from limbeck.artifact.load import load
from limbeck.artifact.predictor import run_graph
from limbeck.artifact.rows.inputs import raw
from limbeck.artifact.runtimes import Graph, open_graph
from limbeck.artifact.speed import rounds
from limbeck.artifact.speed.in_process import InProcess
from limbeck.core.cache.store import Store
from limbeck.evaluation.scores import quality
from limbeck.exporters.onnx_graph import to_onnx
from limbeck.exporters.onnx_ops import dynamic_quantize_linear
from limbeck.models.torch_batches import batch_of
from limbeck.pipeline.arm import Arm, run_arm, run_teacher_arm
from limbeck.pipeline.arms import derive_arms
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.speed import pytorch_worker
from limbeck.recipe.reading import read
from limbeck.tasks import Scored


def float_graph(arm: Arm, bench: RunContext, path: Path) -> Path:
    """A float arm exported as it is."""
    batch = batch_of(bench.encode("test", arm.task), np.arange(4), arm.task.padding)
    to_onnx(
        arm.model().eval(), dict(batch.inputs), path, dynamic_translation=dynamic_quantize_linear
    )
    return path


def dynamic_int8(path: Path, *, per_channel: bool = False) -> Path:
    """A float graph quantized by ONNX Runtime, beside it."""
    int8, options = path.with_name("int8.onnx"), {"DefaultTensorType": onnx.TensorProto.FLOAT}
    quantize_dynamic(
        str(path),
        str(int8),
        weight_type=QuantType.QInt8,
        per_channel=per_channel,
        extra_options=options,
    )
    return int8


def answerer(graph: Graph, task: Any) -> Any:
    """From raw input to decoded answer, as an artifact answers."""

    def answer(given: Any) -> Any:
        row = task.row(given)
        return task.decode(row, run_graph(graph, task.encode([row])[0]))

    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--rows", type=int, default=400)
    arguments = parser.parse_args()
    recipe = read(arguments.recipe, arguments.overrides)
    bench = RunContext(recipe, Store())
    arms = {"teacher": run_teacher_arm(bench)}
    derived = derive_arms(recipe, 0)
    arms |= {
        name: run_arm(derived[name], bench.store, run=bench)
        for name in ("kd", "joint")
        if name in derived
    }
    with tempfile.TemporaryDirectory() as folder:
        teacher = pytorch_worker.answerer(arms["teacher"].model(), arms["teacher"].task)
        answers, figures = {"teacher, PyTorch float32": teacher}, {}
        for name in ("teacher", "kd"):
            if name not in arms:
                continue
            (place := Path(folder) / name).mkdir()
            path = dynamic_int8(float_graph(arms[name], bench, place / "float.onnx"))
            graph = open_graph(path, "onnxruntime", 1)
            encoded = bench.encode("test", arms[name].task)
            logits = np.concatenate([run_graph(graph, row) for row in encoded])
            scored = Scored(logits, arms[name].scored.labels, arms[name].scored.offsets)
            title = f"{name}, ONNX Runtime dynamic int8"
            answers[title] = answerer(graph, arms[name].task)
            figures[title] = (
                quality(scored, arms[name].task)[arms[name].task.metric],
                path.stat().st_size,
            )
        artifact = arms["joint"].artifact
        assert artifact is not None
        answers["joint, limbeck artifact"] = load(artifact.folder, threads=1).predict
        for title, name in (
            ("teacher, PyTorch float32", "teacher"),
            ("joint, limbeck artifact", "joint"),
        ):
            figures[title] = (
                quality(arms[name].scored, arms[name].task)[arms[name].task.metric],
                arms[name].num_bytes,
            )
        torch.set_num_threads(1)
        rows = [raw(row) for row in bench.data.test[: arguments.rows]]
        turns = {
            name: InProcess(each, rows, torch.set_num_threads) for name, each in answers.items()
        }
        measured = rounds.measure(turns, len(rows), threads=1)
    base = measured["teacher, PyTorch float32"].p50
    for title, times in measured.items():
        score, size = figures[title]
        p50 = times.p50
        print(f"{title:32} {score:.4f}  {size:12,} bytes  p50 {p50:7.3f} ms  {base / p50:5.1f} x")


if __name__ == "__main__":
    main()
