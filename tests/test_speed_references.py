"""What a run is timed beside: the float graphs of teacher and student, and the same student in int8."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

import limbeck
from limbeck.artifact.speed import ratios
from limbeck.artifact.speed.product import FACTORS
from limbeck.core.cache.store import Store
from limbeck.core.system import machine
from limbeck.exporters.onnx_kernels import optimized_ops
from limbeck.pipeline.arm import run_arm
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.speed import graphs
from limbeck.recipe.model import Scheme
from limbeck.reports import page, summary

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
student: {model: small_cnn, width: 4}
train: {epochs: 1, learning_rate: 4.0e-3, threads: 1, batch_rows: 64}
quantize: {when: after, range: mse, weights: int4, modules: {classifier: {activations: float, group: 8}}}
"""
TAUGHT = """
task: image-classification
data: {source: sklearn, dataset: digits}
teacher: {model: small_cnn, width: 8, depth: 2, epochs: 1}
student: {model: small_cnn, width: 4}
train: {epochs: 1, learning_rate: 4.0e-3, threads: 1, batch_rows: 64}
distill: {losses: {kl: {}}}
quantize: {when: after, range: mse}
verdict: {arms: [plain, kd, kd+ptq], seeds: 1, min_speedup: 0}
"""


def test_a_twin_in_int8_has_a_scale_a_channel_and_reads_integers() -> None:
    assert graphs.int8_scheme(Scheme(weights="int4", activations="float", group=32)) == Scheme(
        weights="int8", activations="uint8"
    )
    assert graphs.int8_scheme(Scheme(weights="int3", activations="uint8-dynamic")) == Scheme(
        weights="int8", activations="uint8-dynamic"
    )


def test_a_run_says_where_its_speed_comes_from_in_one_figure(tmp_path: Path) -> None:
    found = limbeck.run(limbeck.parse(TAUGHT), tmp_path / "run")
    told = found["speed"]
    product = told["product"]
    multiplied = math.prod(product[name]["ratio"] for name in FACTORS)
    assert multiplied == pytest.approx(product["total"]["ratio"], rel=5e-3)
    # Students that are alike are timed once.
    assert list(told["subjects"]) == [
        "teacher, pytorch",
        "float plain, onnxruntime",
        "kd+ptq, onnxruntime",
        "teacher, onnxruntime",
    ]
    arms = found["arms"]
    assert arms["plain"]["latency_ms"] == arms["kd"]["latency_ms"]
    assert arms["teacher"]["latency_ms"]["runtime"] == "pytorch"
    # The same number wherever it is told.
    speedup = product["total"]["ratio"]
    assert found["verdict"]["speedup"] == arms["kd+ptq"]["latency_ms"]["speedup"] == speedup
    assert found["verdict"]["speedup_ci95"] == product["total"]["ratio_ci95"]
    lines = summary.lines(found, tmp_path / "run")
    said = f"{float(f'{speedup:.3g}'):g}"
    assert sum(said in line for line in lines if line.startswith(("verdict", "speed"))) == 2


def test_a_teacher_that_cannot_be_exported_leaves_the_factors_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = graphs.write_untrained

    def refuse(untrained: Any, *others: Any) -> None:
        if untrained.model.folder.name.startswith("teacher"):
            raise ValueError("an operator that nobody exports")
        write(untrained, *others)

    monkeypatch.setattr(graphs, "write_untrained", refuse)
    recipe = limbeck.parse(TAUGHT.replace("[plain, kd, kd+ptq]", "[kd+ptq]"))
    product = limbeck.run(recipe, tmp_path / "run")["speed"]["product"]
    assert product["runtime"]["ratio"] is product["architecture"]["ratio"] is None
    assert product["runtime"]["reason"].startswith("the teacher cannot be exported: ")
    assert "an operator that nobody exports" in product["runtime"]["reason"]
    assert product["integers"]["ratio"] and product["total"]["ratio"]


def test_a_float_student_is_timed_in_pytorch_as_its_teacher_is(tmp_path: Path) -> None:
    recipe = TAUGHT.replace("quantize: {when: after, range: mse}\n", "").replace(", kd+ptq", "")
    found = limbeck.run(limbeck.parse(recipe), tmp_path / "run")
    product = found["speed"]["product"]
    assert found["speed"]["runtime"] == found["arms"]["kd"]["latency_ms"]["runtime"] == "pytorch"
    assert product["integers"]["reason"] == "nothing is quantized"
    assert product["architecture"]["ratio"] == product["total"]["ratio"]
    assert found["speed"]["twins"] == []


@pytest.mark.slow
def test_a_run_of_small_formats_is_timed_beside_int8_and_float(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ratios.Ratio, "is_slower", True)  # whatever the times are
    found = limbeck.run(limbeck.parse(RECIPE), tmp_path / "run")
    told = found["speed"]
    assert told["arm"] == "ptq"
    assert told["formats"] == ["int4", "int8"]
    assert [twin["form"] for twin in told["twins"]] == ["int8", "float"]
    assert told["p50"] == found["arms"]["ptq"]["latency_ms"]["p50"] > 0
    for twin in told["twins"]:
        low, high = twin["ratio_ci95"]
        assert low <= twin["ratio"] <= high
        assert twin["runtime"] == "onnxruntime"
    said = "\n".join(summary.lines(found, tmp_path / "run"))
    assert "SLOWER than int8 weights" in said and "SLOWER than float32" in said
    assert '<li class="bad">SLOWER than int8' in page.render(found, [])


@pytest.mark.slow
def test_in_int8_throughout_there_is_nothing_to_compare_but_float(tmp_path: Path) -> None:
    plan = RECIPE.split(", weights: int4")[0] + "}"
    found = limbeck.run(limbeck.parse(plan), tmp_path / "run")
    assert [twin["form"] for twin in found["speed"]["twins"]] == ["float"]


def test_a_twin_runs_its_products_in_integers() -> None:
    recipe = compatibility.resolved(limbeck.parse(RECIPE))
    bench = RunContext(recipe, Store())
    arm = run_arm(recipe, bench.store, run=bench)
    assert arm.artifact is not None
    assert graphs.formats_of(arm.recipe, bench, arm.student) == ["int4", "int8"]
    int8 = graphs.in_int8(arm.recipe, bench, arm.student)
    assert int8 is not None
    whole, real = (
        optimized_ops(graphs.graphs_of(bench, arm.recipe, untrained)["onnxruntime"])
        for untrained in (int8, graphs.Untrained(arm.student, {}))
    )
    assert whole["QLinearConv"] == 3
    assert (
        whole["QLinearConv"]
        + whole["QGemm"]
        + whole["QLinearMatMul"]
        + whole["MatMulIntegerToFloat"]
        == 4
    )
    assert not any("Q" in name for name in real)


@pytest.mark.slow
def test_the_processes_of_a_run_answer_as_they_do_here(tmp_path: Path, in_processes: None) -> None:
    found = limbeck.run(limbeck.parse(TAUGHT), tmp_path / "run")
    told = found["speed"]
    assert told["cold_start_ms"] > 50
    assert told["peak_mb"] > 20
    # PyTorch needs more of both than a runtime does.
    teacher, artifact = (
        told["subjects"][name] for name in ("teacher, pytorch", "kd+ptq, onnxruntime")
    )
    assert teacher["peak_mb"] > artifact["peak_mb"]
    assert teacher["cold_start_ms"] > artifact["cold_start_ms"]
    json.dumps(found)
    if machine.usable_cores() > 1:
        assert told["all_threads"]["product"]["total"]["ratio"] > 0
