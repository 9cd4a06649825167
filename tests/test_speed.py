"""A format that is slower than int8 or than float32 here is said to be, with its cure."""

from typing import Any

import numpy as np
import pytest

from limbeck.artifact import speed_ratio
from limbeck.reports import speed


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


@pytest.mark.parametrize(("rows", "has_interval"), [(10, False), (100, False), (101, True)])
def test_few_rows_have_no_interval(rows: int, has_interval: bool) -> None:
    """Of five blocks the range holds the true median in 1 - 2 / 2^5, which is under 95 %."""
    milliseconds = np.linspace(1.0, 1.1, rows)
    artifact = ("onnxruntime", 2 * milliseconds)
    found = speed_ratio.compare(artifact, {"float": ("onnxruntime", milliseconds[::-1])})
    (twin,) = found["twins"]
    assert (twin["ratio_ci95"] is not None) == twin["slower"] == has_interval
    (told,) = speed.sentences(found | {"formats": ["int8"]})
    few = f"; {rows} rows were timed, too few for an interval: verdict.latency_rows=120 or more"
    assert (few in told and " [" not in told) == (not has_interval)
    assert told.startswith("SLOWER than") == has_interval


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
