"""How many times as long one subject takes as another: its interval, the product, and what is said of it."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.artifact.speed import ratios, rounds
from limbeck.artifact.speed.product import FACTORS, Steps, product
from limbeck.artifact.speed.rounds import Timed
from limbeck.artifact.speed.workers import Turn
from limbeck.evaluation.verdict import Evidence, too_slow
from limbeck.reports import speed

ROUNDS = 12


def timed(milliseconds: Any, waiting: float = 1.0, threads: int = 1) -> Timed:
    wall = np.asarray(milliseconds, float)
    return Timed(
        wall_ms=wall, mean_ms=wall, cpu_ms=wall / waiting, answers_ms=wall, threads=threads
    )


def around(milliseconds: float, seed: int, noise: float) -> Timed:
    return timed(milliseconds * np.exp(noise * np.random.default_rng(seed).standard_normal(ROUNDS)))


# The interval.


def test_the_interval_covers_the_true_ratio() -> None:
    covered = 0
    for seed in range(1000):
        found = ratios.ratio(around(3.0, seed, 0.3), around(2.0, seed + 10_000, 0.3))
        covered += found.low <= 1.5 <= found.high
    assert covered >= 1000 * 0.95 - 3 * math.sqrt(1000 * 0.95 * 0.05)


def test_a_slow_minute_that_hits_both_leaves_the_ratio() -> None:
    minute = np.where(np.arange(ROUNDS) < 7, 1.0, 5.0)
    found = ratios.ratio(timed(2 * minute), timed(minute))
    assert found.ratio == 2.0
    assert (found.low, found.high) == (2.0 / ratios.PROCESSES, 2.0 * ratios.PROCESSES)


def test_noise_is_not_called_slower() -> None:
    told = [
        ratios.ratio(around(2.0, seed, 0.5), around(2.0, seed + 100, 0.5)).is_slower
        for seed in range(200)
    ]
    # One side of the interval errs in 2.5 of 100.
    assert sum(told) <= 200 * 0.025 + 3 * math.sqrt(200 * 0.025)


@pytest.mark.parametrize(
    ("longer", "is_slower"), [(1.0, False), (1.03, False), (1.2, True), (0.5, False)]
)
def test_what_takes_a_twentieth_more_is_slower(longer: float, is_slower: bool) -> None:
    minute = np.linspace(1.0, 1.5, ROUNDS)
    assert ratios.ratio(timed(longer * minute), timed(minute)).is_slower == is_slower


def test_a_subject_beside_itself_takes_as_long() -> None:
    own = around(1.0, 0, 0.1)
    assert ratios.ratio(own, own) == ratios.Ratio(1.0, 1.0, 1.0)


# A busy machine.


def test_a_quiet_machine_is_not_called_busy() -> None:
    measured = {"a": around(2.0, 0, 0.02), "b": around(1.0, 1, 0.02)}
    assert ratios.signs_of_noise(measured) == []


@pytest.mark.parametrize("threads", [1, 2])
def test_waiting_is_told(threads: int) -> None:
    waited = {"teacher": timed(np.ones(ROUNDS), waiting=1.5, threads=threads)}
    assert ratios.signs_of_noise(waited) == [
        "`teacher` took 1.50 times as much wall time as CPU time"
    ]
    # Two threads have twice the CPU time of the clock's.
    worked = {"teacher": timed(np.ones(ROUNDS), waiting=0.5, threads=2)}
    assert ratios.signs_of_noise(worked) == []


def test_a_scheduler_that_cuts_long_answers_alone_moves_no_ratio_of_one_thread() -> None:
    """2.46 ms of CPU time took 6.5 on the clock, and .212 as long as it was: 31 times as fast, and 11.6 in truth."""
    slow, fast = np.linspace(2.4, 2.52, ROUNDS), np.linspace(0.207, 0.217, ROUNDS)
    cut = timed(slow * 2.64, waiting=2.64)
    found = ratios.ratio(cut, timed(fast))
    assert found.ratio == pytest.approx(2.46 / 0.212, rel=1e-3)
    assert 11 < found.low < found.ratio < found.high < 12.2
    assert cut.ms == pytest.approx(2.46)
    # The clock is what several threads have.
    several = [timed(slow * 2.64, threads=2), timed(fast, threads=2)]
    assert ratios.ratio(*several).ratio == pytest.approx(2.64 * 2.46 / 0.212, rel=1e-3)


@given(st.integers(0, 10_000), st.floats(0.01, 0.8))
def test_the_ratio_is_that_of_the_tables_milliseconds_within_its_interval(
    seed: int, noise: float
) -> None:
    first, second = around(3.0, seed, noise), around(2.0, seed + 1, noise)
    found = ratios.ratio(first, second)
    assert found.ratio == first.ms / second.ms
    assert found.low * ratios.PROCESSES <= found.ratio + 1e-12
    assert found.ratio <= found.high / ratios.PROCESSES + 1e-12


def test_rounds_that_disagree_are_told() -> None:
    measured = {"a": timed([1.0, 2.0] * 6), "b": timed(np.ones(ROUNDS))}
    assert ratios.signs_of_noise(measured) == [
        "rounds disagree: `a` takes 1.00 to 2.00 times as long as `b`"
    ]


# The product.


NAMES = ["teacher", "teacher graph", "student graph", "artifact"]


@given(st.integers(0, 10_000), st.floats(0.0, 0.8))
def test_the_factors_multiply_to_the_total(seed: int, noise: float) -> None:
    levels = (24.0, 11.0, 5.0, 2.0)
    measured = {
        name: around(level, 7 * seed + number, noise)
        for number, (name, level) in enumerate(zip(NAMES, levels, strict=True))
    }
    told = product(measured, Steps(NAMES, {}))
    multiplied = math.prod(told[name]["ratio"] for name in FACTORS)
    # To the thousandth that is told of each.
    assert multiplied == pytest.approx(told["total"]["ratio"], rel=3e-3)
    for factor in told.values():
        low, high = factor["ratio_ci95"]
        assert low <= factor["ratio"] <= high


def test_a_product_of_exact_times_is_what_they_say() -> None:
    levels = (24.0, 12.0, 4.0, 2.0)
    minute = np.linspace(1.0, 2.0, ROUNDS)
    measured = {name: timed(level * minute) for name, level in zip(NAMES, levels, strict=True)}
    told = product(measured, Steps(NAMES, {}))
    assert [told[name]["ratio"] for name in (*FACTORS, "total")] == [2.0, 3.0, 2.0, 12.0]


def test_a_factor_that_cannot_be_known_says_why() -> None:
    measured = {name: timed(np.ones(ROUNDS)) for name in ("teacher", "student graph", "artifact")}
    why = "the teacher cannot be exported: no"
    steps = Steps(
        ["teacher", None, "student graph", "artifact"], {"runtime": why, "architecture": why}
    )
    told = product(measured, steps)
    assert (
        told["runtime"]
        == told["architecture"]
        == {
            "ratio": None,
            "ratio_ci95": None,
            "reason": why,
        }
    )
    assert told["integers"]["ratio"] == told["total"]["ratio"] == 1.0


# The turns.


class Counting:
    def __init__(self, log: list[tuple[str, int, int]], name: str) -> None:
        self.log, self.name = log, name

    def turn(self, start: int, stop: int, least_ms: float) -> Turn:
        self.log.append((self.name, start, stop))
        return Turn([1.0, 3.0], 2.0)

    def use_threads(self, threads: int) -> None:
        raise AssertionError


def test_every_round_asks_all_for_the_same_rows_in_an_order_that_is_turned_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rounds, "ROUNDS", 3)
    log: list[tuple[str, int, int]] = []
    measured = rounds.measure(
        {name: Counting(log, name) for name in "ab"}, 30, threads=1, first=100
    )
    assert log == [
        ("a", 100, 110),
        ("b", 100, 110),
        ("b", 110, 120),
        ("a", 110, 120),
        ("a", 120, 130),
        ("b", 120, 130),
    ]
    assert (measured["a"].p50, measured["a"].waiting) == (2.0, 1.0)


@pytest.mark.parametrize("num_rows", [1, 3, 7, 59, 60, 200, 1000])
def test_few_rows_come_in_several_rounds(num_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "ROUNDS", 12)
    blocks = rounds.blocks(num_rows)
    assert len(blocks) == 12
    sizes = {stop - start for start, stop in blocks}
    assert sizes == {min(num_rows, max(5, num_rows // 12))}
    assert all(0 <= start < stop <= num_rows for start, stop in blocks)


# The gate.


@pytest.mark.parametrize(
    ("interval", "asked", "reasons"),
    [
        ([4.1, 4.3], 4.0, []),
        (
            [3.9, 4.5],
            4.0,
            ["4.2 [3.9, 4.5] times as fast as the teacher, and 4 asked is not shown"],
        ),
        ([3.9, 4.5], 5.0, ["4.2 [3.9, 4.5] times as fast as the teacher, 5 asked"]),
        (None, 4.0, []),
    ],
)
def test_the_gate_passes_on_the_low_end(
    interval: list[float] | None, asked: float, reasons: list[str]
) -> None:
    found = Evidence(answers={}, speedup=4.2, speedup_ci95=interval)
    told = too_slow(found, asked)
    assert [reason[: len(start)] for reason, start in zip(told, reasons, strict=True)] == reasons


# What is said.


def told(**changes: Any) -> dict[str, Any]:
    def known(ratio: float) -> dict[str, Any]:
        return {"ratio": ratio, "ratio_ci95": [ratio * 0.9, ratio * 1.1]}

    twin = {"runtime": "onnxruntime", "p50": 1.3, "ms": 1.0}
    found = {
        "formats": ["int4", "int8"],
        "p50": 2.6,
        "ms": 2.0,
        "threads": 1,
        "product": {
            "runtime": known(2.0),
            "architecture": known(3.0),
            "integers": known(0.5),
            "total": known(3.0),
        },
        "busy": [],
        "all_threads": {"threads": 2, "product": {"total": known(2.5)}},
        "cold_start_ms": 640.0,
        "peak_mb": 83.2,
        "twins": [
            {**twin, "form": "int8", "ratio": 0.9, "ratio_ci95": [0.8, 1.0], "slower": False},
            {**twin, "form": "float", "ratio": 2.0, "ratio_ci95": [1.8, 2.2], "slower": True},
        ],
    }
    return found | changes


def test_the_sentences_tell_the_product_the_start_and_the_cure() -> None:
    assert speed.sentences(told()) == [
        "speed: 3.00 [2.70, 3.30] times as fast as the teacher = runtime 2.00 [1.80, 2.20] x architecture 3.00 [2.70, 3.30] x integers 0.500 [0.450, 0.550] (1 thread; 2.50 with 2 threads)",
        "start: 0.6 s from a new process to its first answer, 83 MB of memory at most",
        "speed: int4, int8 takes 2.000 ms, 0.90 [0.80, 1.00] times as long as the same student in int8 weights (1.000 ms)",
        "SLOWER than float32: int4, int8 takes 2.000 ms, 2.00 [1.80, 2.20] times as long as the same student in float32 (1.000 ms). "
        "On this machine it saves bytes, not time: leave `quantize` out, or keep the slow layers float (`limbeck inspect` says which)",
    ]


def test_what_is_not_known_is_told_with_its_reason() -> None:
    unknown = {"ratio": None, "ratio_ci95": None, "reason": "no teacher to compare with"}
    found = told(twins=[], busy=["`a` waited"], all_threads=None)
    found["product"] |= dict.fromkeys(("runtime", "architecture", "total"), unknown)
    line, reason, _, busy, of_cpu = speed.sentences(found)
    assert line == "speed: runtime ? x architecture ? x integers 0.500 [0.450, 0.550] (1 thread)"
    assert reason == "  not known: no teacher to compare with"
    assert busy == "busy: `a` waited"
    assert of_cpu.startswith("  ratios are of CPU time")


def test_no_figure_of_several_threads_stands_on_a_busy_clock() -> None:
    busy = {"threads": 2, "product": {"total": {"ratio": 751.0}}, "busy": ["`a` waited"]}
    line = speed.sentences(told(all_threads=busy))[0]
    assert "751" not in line
    assert line.endswith("(1 thread; with 2 threads not known, the machine was busy)")


def test_a_report_of_schema_1_tells_its_twins() -> None:
    twin = {"form": "float", "p50": 1.0, "ratio": 2.0, "ratio_ci95": None, "slower": False}
    (line,) = speed.sentences({"formats": ["int8"], "p50": 2.0, "rows": 40, "twins": [twin]})
    assert line.endswith(
        "(1.000 ms); 40 rows were timed, too few for an interval: verdict.latency_rows=120 or more gives one"
    )
    assert speed.sentences(None) == []
