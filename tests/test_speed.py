"""A format that is slower than int8 or than float32 here is said to be, with its cure."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import limbeck
from limbeck.artifact import speed_ratio
from limbeck.core.store import Store
from limbeck.exporters.onnx_kernels import optimized_ops
from limbeck.pipeline import compatibility
from limbeck.pipeline.arm import run_arm
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.steps import speed_references
from limbeck.recipe.model import Scheme
from limbeck.reports import page, speed, summary

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
student: {model: small_cnn, width: 4}
train: {epochs: 1, learning_rate: 4.0e-3, threads: 1, batch_rows: 64}
quantize: {when: after, range: mse, weights: int4, modules: {classifier: {activations: float, group: 8}}}
"""


def around(milliseconds: float, seed: int, noise: float = 0.02) -> tuple[str, np.ndarray]:
    return "onnxruntime", milliseconds * (
        1 + noise * np.random.default_rng(seed).standard_normal(200)
    )


def compared(int8_ms: float, float_ms: float, noise: float = 0.02) -> dict[str, Any]:
    others = {"int8": around(int8_ms, 1, noise), "float": around(float_ms, 2, noise)}
    return {
        "arm": "joint",
        "formats": ["int4", "int8"],
        **speed_ratio.compare(around(2.0, 0, noise), others),
    }


@pytest.mark.parametrize(
    ("int8_ms", "float_ms", "slower"),
    [(1.0, 8.0, [True, False]), (1.95, 1.0, [False, True]), (2.5, 2.0, [False, False])],
)
def test_what_takes_a_twentieth_more_is_flagged(
    int8_ms: float, float_ms: float, slower: list[bool]
) -> None:
    found = compared(int8_ms, float_ms)
    assert [twin["slower"] for twin in found["twins"]] == slower
    assert [line.startswith("SLOWER than") for line in speed.sentences(found)] == slower


def test_noise_is_not_called_slower() -> None:
    for seed in range(20):
        own, other = around(2.0, seed, 1.0), around(1.9, seed + 100, 1.0)
        (twin,) = speed_ratio.compare(own, {"int8": other})["twins"]
        assert twin["ratio_ci95"][0] < twin["ratio"] < twin["ratio_ci95"][1]
        assert not twin["slower"] or twin["ratio_ci95"][0] > 1


def test_a_slow_minute_that_hits_both_leaves_the_ratio() -> None:
    minute = np.where(np.arange(200) < 120, 1.0, 5.0)
    ratio, (low, high) = speed_ratio.paired_ratio(2 * minute, minute)
    assert ratio == low == high == 2.0


def test_the_sentences_tell_both_times_and_the_cure() -> None:
    slow, fast = speed.sentences(compared(1.0, 8.0, noise=0.0))
    assert slow == (
        "SLOWER than int8 weights: int4, int8 takes 2.000 ms, 2.00 [2.00, 2.00] times as long as the same student in int8 weights (1.000 ms). "
        "On this machine it saves bytes, not time: for speed take quantize.weights=int8, without `group` and `activations: float`"
    )
    assert (
        fast
        == "speed: int4, int8 takes 2.000 ms, 0.25 [0.25, 0.25] times as long as the same student in float32 (8.000 ms)"
    )
    assert speed.sentences(None) == []


def test_a_twin_in_int8_has_a_scale_a_channel_and_reads_integers() -> None:
    assert speed_references.in_int8(
        Scheme(weights="int4", activations="float", group=32)
    ) == Scheme(weights="int8", activations="uint8")
    assert speed_references.in_int8(Scheme(weights="int3", activations="uint8-dynamic")) == Scheme(
        weights="int8", activations="uint8-dynamic"
    )


def test_a_run_of_small_formats_is_timed_beside_int8_and_float(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed_ratio, "SLOWER", 0.0)  # whatever the times are
    monkeypatch.setattr(speed_ratio, "SURE", 0.0)
    found = limbeck.run(limbeck.parse(RECIPE), tmp_path / "run")
    told = found["speed"]
    assert told["arm"] == "quantized"
    assert told["formats"] == ["int4", "int8"]
    assert [twin["form"] for twin in told["twins"]] == ["int8", "float"]
    assert 0 < told["p50"] < 10 * found["arms"]["quantized"]["latency_ms"]["p50"]
    for twin in told["twins"]:
        assert twin["ratio"] == pytest.approx(told["p50"] / twin["p50"], rel=0.3)
        assert twin["runtime"] == "onnxruntime"
        assert told["bytes"][twin["form"]] > 0
    said = "\n".join(summary.lines(found, tmp_path / "run", next_steps=False))
    assert "SLOWER than int8 weights" in said and "SLOWER than float32" in said
    assert '<li class="bad">SLOWER than int8' in page.render(found, [])


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
    whole, real = (
        optimized_ops(tmp_path / form / "model.onnx") for form in ("int8", "float")
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
    assert found.bytes.keys() == {"int8", "float"}
    assert (
        found.answerers["int8", "onnxruntime"](bench.data.test[0]["image"])["label"]
        in arm.task.labels
    )
