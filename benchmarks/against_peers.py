"""Quantizing after training beside other tools: the same float students, the same calibration
rows, the whole test split.

    python benchmarks/against_peers.py RECIPE [key=value ...] [--seeds N]

Takes the float students of a recipe (`kd`, or `plain` where it has no `distill`; from the store,
or trained) for N seeds, and quantizes each in
int8 and in int4 weights (groups of 32, activations float, int8 embeddings) by limbeck, ONNX
Runtime (dynamic), NNCF (its post-training quantization,
and its weight compression with scale estimation, in OpenVINO) and torchao. Prints quality and the
divergence from the float model, by seed and on the
mean; then what an answer of each takes, in turns on the first test rows of every seed, one row at
a time on one thread: milliseconds of the model
alone, and how many times as fast it is as the fastest of the other tools in int8. Needs `pip
install nncf openvino torchao`.
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

from limbeck.artifact.manifest import checked_manifest
from limbeck.artifact.predictor import run_graph
from limbeck.artifact.runtimes import Graph, open_graph
from limbeck.artifact.speed import rounds
from limbeck.artifact.speed.in_process import InProcess
from limbeck.core.cache.store import Store
from limbeck.evaluation.scores import quality
from limbeck.models.likelihood import LIKELIHOODS
from limbeck.pipeline.arm import run_arm
from limbeck.pipeline.arms import derive_arms
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.steps.quantizing import calibration_rows
from limbeck.recipe.model import Quantize, Recipe
from limbeck.recipe.reading import read
from limbeck.tasks import Encoded, Scored, Task, collate

GROUP = 32
THREADS = 1
TIMED_ROWS = 400
INT8_EMBEDDINGS = {"*embeddings*": {"weights": "int8", "activations": "float"}}
OWN: dict[str, dict[str, Any]] = {
    "int8 limbeck, dynamic": {"activations": "uint8-dynamic"},
    "int8 limbeck, static": {"activations": "uint8"},
    "int4 limbeck": {
        "weights": "int4",
        "activations": "float",
        "group": GROUP,
        "modules": INT8_EMBEDDINGS,
    },
}


@dataclass(frozen=True)
class Float:
    """A trained float student, as a module and as an ONNX file, with the rows that quantizers
    calibrate on and those that judge."""

    model: Callable[[], nn.Module]
    file: Path
    task: Task
    calibration: Sequence[Encoded]
    test: Sequence[Encoded]

    def inputs(self, row: Encoded) -> dict[str, np.ndarray]:
        """One row as a graph reads it."""
        return collate([row], np.zeros(1, np.int64), self.task.padding).inputs


def by_onnxruntime(subject: Float) -> Graph:
    """Dynamic int8, its recommended way for transformers."""
    return open_graph(dynamic_int8(subject.file, per_channel=True), "onnxruntime", THREADS)


def by_nncf(subject: Float, folder: Path, bits: int) -> Graph:
    """Static int8 for transformers, or int4 weights, in OpenVINO.

    The model is read from PyTorch, since what reads its data (scale estimation) takes the weights
    of a matrix product to be transposed, as
    PyTorch has them and ONNX has not: on a square matrix of an ONNX file it answers nonsense (NNCF
    issue 3494).
    """
    import nncf
    import openvino

    example = {
        name: torch.from_numpy(array)
        for name, array in subject.inputs(subject.calibration[0]).items()
    }
    model = openvino.convert_model(subject.model().eval(), example_input=example)
    names = {name for argument in model.inputs for name in argument.names}
    rows = nncf.Dataset(
        subject.calibration,
        lambda row: {key: value for key, value in subject.inputs(row).items() if key in names},
    )
    if bits == 8:
        model = nncf.quantize(
            model, rows, subset_size=len(subject.calibration), model_type=nncf.ModelType.TRANSFORMER
        )
    else:
        mode = nncf.CompressWeightsMode.INT4_SYM
        model = nncf.compress_weights(
            model,
            mode=mode,
            group_size=GROUP,
            ratio=1.0,
            dataset=rows,
            scale_estimation=True,
            subset_size=len(subject.calibration),
        )
    openvino.save_model(model, folder / f"nncf{bits}.xml", compress_to_fp16=False)
    return open_graph(folder / f"nncf{bits}.xml", "openvino", THREADS)


def by_torchao(subject: Float, bits: int) -> Graph:
    """Dynamic int8, or int4 weights, of the linear layers."""
    from torchao.quantization import (
        Int8DynamicActivationInt8WeightConfig,
        IntxWeightOnlyConfig,
        PerGroup,
        quantize_,
    )

    model = subject.model().eval()
    int4: Any = torch.int4  # type: ignore[attr-defined]  # which torch's stubs leave out
    quantize_(
        model,
        Int8DynamicActivationInt8WeightConfig()
        if bits == 8
        else IntxWeightOnlyConfig(int4, granularity=PerGroup(GROUP)),
    )

    @torch.inference_mode()
    def answer(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        logits: np.ndarray = model(
            **{name: torch.from_numpy(array) for name, array in inputs.items()}
        ).logits.numpy()
        return logits

    return answer


def figures(task: Task, logits: np.ndarray, base: Scored) -> tuple[float, float]:
    """(the task's metric, nats a unit from the float model)."""
    score = quality(Scored(logits, base.labels, base.offsets), task)[task.metric]
    p, q = (torch.from_numpy(each).double() for each in (base.logits, logits))
    return score, float(LIKELIHOODS[task.likelihood].divergence(p, q).mean())


def of_seed(
    recipe: Recipe, bench: RunContext, seed: int, folder: Path
) -> tuple[dict[str, tuple[float, float]], dict[str, np.ndarray]]:
    """(every way's figures for the float student of one seed, every way's milliseconds)."""
    derived = derive_arms(recipe, seed)
    own = derived["kd" if recipe.distill else "plain"]
    arm = run_arm(own, bench.store, run=bench)
    with_rows = own.model_copy(update={"quantize": Quantize(when="after")})
    file, calibration = (
        float_graph(arm, bench, folder / "float.onnx"),
        calibration_rows(with_rows, bench, arm.task),
    )
    subject = Float(arm.model, file, arm.task, calibration, bench.encode("test", arm.task))
    found, graphs = (
        {"float": figures(arm.task, arm.scored.logits, arm.scored)},
        {"float, ONNX Runtime": open_graph(file, "onnxruntime", THREADS)},
    )
    for title, settings in OWN.items():
        asked = own.model_copy(
            update={"quantize": Quantize.model_validate({"when": "after", **settings})}
        )
        quantized = run_arm(asked, bench.store, run=bench)
        found[title] = figures(arm.task, quantized.scored.logits, arm.scored)
        assert quantized.artifact is not None
        folder_of_artifact = quantized.artifact.folder
        for graph in checked_manifest(folder_of_artifact)["graphs"]:
            opened = open_graph(folder_of_artifact / graph["file"], graph["runtime"], THREADS)
            graphs[f"{title}, {graph['runtime']}"] = opened
    ways = {
        "int8 ONNX Runtime, dynamic": by_onnxruntime(subject),
        "int8 NNCF, static": by_nncf(subject, folder, 8),
        "int8 torchao, dynamic": by_torchao(subject, 8),
        "int4 NNCF": by_nncf(subject, folder, 4),
        "int4 torchao": by_torchao(subject, 4),
    }
    for title, way in ways.items():
        found[title] = figures(
            arm.task, np.concatenate([run_graph(way, row) for row in subject.test]), arm.scored
        )
    torch.set_num_threads(THREADS)
    rows = [subject.inputs(row) for row in subject.test[:TIMED_ROWS]]
    turns = {
        name: InProcess(each, rows, torch.set_num_threads) for name, each in (graphs | ways).items()
    }
    measured = rounds.measure(turns, len(rows), threads=1)
    return found, {name: times.wall_ms for name, times in measured.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    recipe = compatibility.resolved(read(arguments.recipe, arguments.overrides))
    bench = RunContext(recipe, Store())
    seeds, times = [], []
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            found, milliseconds = of_seed(recipe, bench, seed, Path(folder))
        seeds.append(found)
        times.append(milliseconds)
        show(f"seed {seed}", found)
    show(
        "mean", {title: tuple(np.mean([found[title] for found in seeds], 0)) for title in seeds[0]}
    )
    show_speed({title: np.concatenate([each[title] for each in times]) for title in times[0]})


def show_speed(milliseconds: Mapping[str, np.ndarray]) -> None:
    """Medians, and what the fastest of the other tools in int8 takes of each."""
    medians = {title: float(np.median(each)) for title, each in milliseconds.items()}
    fastest = min(
        p50 for title, p50 in medians.items() if title.startswith("int8") and "limbeck" not in title
    )
    print(
        "speed",
        *(
            f"  {title:34} p50 {p50:7.3f} ms  {fastest / p50:5.2f} x"
            for title, p50 in medians.items()
        ),
        sep="\n",
        flush=True,
    )


def show(head: str, rows: Mapping[str, tuple[float, ...]]) -> None:
    """A table for the terminal."""
    print(
        head,
        *(f"  {title:28} {score:.4f}  {nats:.5f} nats" for title, (score, nats) in rows.items()),
        sep="\n",
        flush=True,
    )


if __name__ == "__main__":
    main()
