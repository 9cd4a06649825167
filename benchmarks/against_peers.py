"""Quantizing after training beside other tools: the same float students, the same calibration rows, the whole test split.

    python benchmarks/against_peers.py RECIPE [key=value ...] [--seeds N]

Takes the float students of a recipe (`kd`, or `plain` where it has no `distill`; from the store, or trained) for N seeds, and quantizes each in
int8 and in int4 weights (groups of 32, activations float, int8 embeddings) by limbeck, ONNX Runtime (dynamic), NNCF (its post-training quantization,
and its weight compression with scale estimation, in OpenVINO) and torchao. Prints quality and the divergence from the float model, by seed and on the
mean. Needs `pip install nncf openvino torchao`.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from against_dynamic import dynamic_int8, float_graph
from torch import nn

from limbeck import evaluate, pipeline, recipe, runtime, stages, verdict
from limbeck.likelihood import nats_between
from limbeck.recipe import Quantize
from limbeck.store import Store
from limbeck.tasks import Encoded, Scored, Task, collate

GROUP = 32
INT8_EMBEDDINGS = {"*embeddings*": {"weights": "int8", "activations": "float"}}
OWN: dict[str, dict[str, Any]] = {
    "int8 limbeck, dynamic": {"activations": "uint8-dynamic"},
    "int8 limbeck, static": {"activations": "uint8"},
    "int4 limbeck": {"weights": "int4", "activations": "float", "group": GROUP, "modules": INT8_EMBEDDINGS},
}


@dataclass(frozen=True)
class Float:
    """A trained float student, as a module and as an ONNX file, with the rows that quantizers calibrate on and those that judge."""

    model: Callable[[], nn.Module]
    file: Path
    task: Task
    calibration: Sequence[Encoded]
    test: Sequence[Encoded]

    def inputs(self, row: Encoded) -> dict[str, np.ndarray]:
        """One row as a graph reads it."""
        return collate([row], np.zeros(1, np.int64), self.task.padding).inputs


def graph_logits(subject: Float, graph: runtime.Graph) -> np.ndarray:
    """Of every unit of the test rows, one row at a time."""
    return np.concatenate([runtime.run_graph(graph, row) for row in subject.test])


def by_onnxruntime(subject: Float) -> np.ndarray:
    """Dynamic int8, its recommended way for transformers."""
    return graph_logits(subject, runtime.open_onnxruntime(dynamic_int8(subject.file, per_channel=True), 2))


def by_nncf(subject: Float, folder: Path, bits: int) -> np.ndarray:
    """Static int8 for transformers, or int4 weights, in OpenVINO.

    The model is read from PyTorch, since what reads its data (scale estimation) takes the weights of a matrix product to be transposed, as
    PyTorch has them and ONNX has not: on a square matrix of an ONNX file it answers nonsense (NNCF issue 3494).
    """
    import nncf
    import openvino

    example = {name: torch.from_numpy(array) for name, array in subject.inputs(subject.calibration[0]).items()}
    model = openvino.convert_model(subject.model().eval(), example_input=example)
    names = {name for argument in model.inputs for name in argument.names}
    rows = nncf.Dataset(subject.calibration, lambda row: {key: value for key, value in subject.inputs(row).items() if key in names})
    if bits == 8:
        model = nncf.quantize(model, rows, subset_size=len(subject.calibration), model_type=nncf.ModelType.TRANSFORMER)
    else:
        mode = nncf.CompressWeightsMode.INT4_SYM
        model = nncf.compress_weights(
            model, mode=mode, group_size=GROUP, ratio=1.0, dataset=rows, scale_estimation=True, subset_size=len(subject.calibration)
        )
    openvino.save_model(model, folder / f"nncf{bits}.xml", compress_to_fp16=False)
    return graph_logits(subject, runtime.open_openvino(folder / f"nncf{bits}.xml", 2))


def by_torchao(subject: Float, bits: int) -> np.ndarray:
    """Dynamic int8, or int4 weights, of the linear layers."""
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, IntxWeightOnlyConfig, PerGroup, quantize_

    model = subject.model()
    int4: Any = torch.int4  # type: ignore[attr-defined]  # which torch's stubs leave out
    quantize_(model, Int8DynamicActivationInt8WeightConfig() if bits == 8 else IntxWeightOnlyConfig(int4, granularity=PerGroup(GROUP)))
    return evaluate.score(model, subject.test, subject.task, one_by_one=bits == 8).logits


def figures(task: Task, logits: np.ndarray, base: Scored) -> tuple[float, float]:
    """(the task's metric, nats a unit from the float model)."""
    quality = evaluate.quality(Scored(logits, base.labels, base.offsets), task)[task.metric]
    p, q = (torch.from_numpy(each).double() for each in (base.logits, logits))
    return quality, float(nats_between(task.likelihood, p, q).mean())


def of_seed(read: recipe.Recipe, bench: stages.Bench, seed: int, folder: Path) -> dict[str, tuple[float, float]]:
    """Every way's figures for the float student of one seed."""
    derived = verdict.arms(read, seed)
    own = derived["kd" if read.distill else "plain"]
    arm = pipeline.run_arm(own, bench.store, bench=bench)
    assert arm.model is not None
    with_rows = own.model_copy(update={"quantize": Quantize(when="after")})
    file, calibration = float_graph(arm, bench, folder / "float.onnx"), stages.calibration_rows(bench, with_rows, arm.task)
    subject = Float(arm.model, file, arm.task, calibration, bench.encode("test", arm.task))
    found = {"float": figures(arm.task, arm.scored.logits, arm.scored)}
    for title, settings in OWN.items():
        asked = own.model_copy(update={"quantize": Quantize.model_validate({"when": "after", **settings}), "export": ["onnx"]})
        found[title] = figures(arm.task, pipeline.run_arm(asked, bench.store, bench=bench).scored.logits, arm.scored)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "int8 ONNX Runtime, dynamic": lambda: by_onnxruntime(subject),
        "int8 NNCF, static": lambda: by_nncf(subject, folder, 8),
        "int8 torchao, dynamic": lambda: by_torchao(subject, 8),
        "int4 NNCF": lambda: by_nncf(subject, folder, 4),
        "int4 torchao": lambda: by_torchao(subject, 4),
    }
    return found | {title: figures(arm.task, way(), arm.scored) for title, way in ways.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    read = recipe.read(arguments.recipe, arguments.overrides).resolved()
    bench = stages.Bench(read, Store())
    seeds = []
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            seeds.append(of_seed(read, bench, seed, Path(folder)))
        show(f"seed {seed}", seeds[-1])
    show("mean", {title: tuple(np.mean([found[title] for found in seeds], 0)) for title in seeds[0]})


def show(head: str, rows: Mapping[str, tuple[float, ...]]) -> None:
    """A table for the terminal."""
    print(head, *(f"  {title:28} {quality:.4f}  {nats:.5f} nats" for title, (quality, nats) in rows.items()), sep="\n", flush=True)


if __name__ == "__main__":
    main()
