"""The models that a run of few bits is timed beside: the same in int8, and in float."""

from pathlib import Path

import pytest

import limbeck
from limbeck.artifact import speed_ratio
from limbeck.core.cache.store import Store
from limbeck.exporters.onnx_kernels import optimized_ops
from limbeck.pipeline.arm import run_arm
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.steps import speed_references
from limbeck.recipe.model import Scheme
from limbeck.reports import page, summary

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
student: {model: small_cnn, width: 4}
train: {epochs: 1, learning_rate: 4.0e-3, threads: 1, batch_rows: 64}
quantize: {when: after, range: mse, weights: int4, modules: {classifier: {activations: float, group: 8}}}
"""


def test_a_twin_in_int8_has_a_scale_a_channel_and_reads_integers() -> None:
    assert speed_references.in_int8(
        Scheme(weights="int4", activations="float", group=32)
    ) == Scheme(weights="int8", activations="uint8")
    assert speed_references.in_int8(Scheme(weights="int3", activations="uint8-dynamic")) == Scheme(
        weights="int8", activations="uint8-dynamic"
    )


@pytest.mark.slow
def test_a_run_of_small_formats_is_timed_beside_int8_and_float(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed_ratio, "SLOWER", 0.0)  # whatever the times are
    monkeypatch.setattr(speed_ratio, "SURE", 0.0)
    # Of the 40 rows that tests time, as many blocks as an interval needs.
    monkeypatch.setattr(speed_ratio, "BLOCK", 5)
    found = limbeck.run(limbeck.parse(RECIPE), tmp_path / "run")
    told = found["speed"]
    assert told["arm"] == "ptq"
    assert told["formats"] == ["int4", "int8"]
    assert [twin["form"] for twin in told["twins"]] == ["int8", "float"]
    assert 0 < told["p50"] < 10 * found["arms"]["ptq"]["latency_ms"]["p50"]
    for twin in told["twins"]:
        # The ratio is of interleaved turns; the two medians are not, and differ on a busy machine.
        low, high = twin["ratio_ci95"]
        assert low <= twin["ratio"] <= high
        assert twin["runtime"] == "onnxruntime"
        assert told["bytes"][twin["form"]] > 0
    said = "\n".join(summary.lines(found, tmp_path / "run", next_steps=False))
    assert "SLOWER than int8 weights" in said and "SLOWER than float32" in said
    assert '<li class="bad">SLOWER than int8' in page.render(found, [])


@pytest.mark.slow
def test_in_int8_throughout_there_is_nothing_to_compare_but_float(tmp_path: Path) -> None:
    plan = RECIPE.split(", weights: int4")[0] + "}"
    found = limbeck.run(limbeck.parse(plan), tmp_path / "run")
    assert [twin["form"] for twin in found["speed"]["twins"]] == ["float"]


def test_a_twin_runs_its_products_in_integers(tmp_path: Path) -> None:
    recipe = compatibility.resolved(limbeck.parse(RECIPE))
    bench = RunContext(recipe, Store())
    arm = run_arm(recipe, bench.store, run=bench)
    assert arm.artifact is not None
    found = speed_references.speed_references(
        arm.recipe, bench, arm.student, arm.artifact.folder, tmp_path, 1
    )
    assert found.formats == ["int4", "int8"]
    whole, real = (optimized_ops(tmp_path / form / "model.onnx") for form in ("int8", "float"))
    assert whole["QLinearConv"] == 3
    assert (
        whole["QLinearConv"]
        + whole["QGemm"]
        + whole["QLinearMatMul"]
        + whole["MatMulIntegerToFloat"]
        == 4
    )
    assert not any("Q" in name for name in real)
    assert found.bytes.keys() == {"int8", "float"}
    assert (
        found.answerers["int8", "onnxruntime"](bench.data.test[0]["image"])["label"]
        in arm.task.labels
    )
