"""What the server counts, against prometheus-client's own counters and histograms."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("prometheus_client")
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from limbeck.server.meters import SECONDS, Meters
from limbeck.server.processes.board import WAITING, Board

WORKERS = 3
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
requests = st.tuples(
    st.integers(0, WORKERS - 1),
    st.sampled_from(["a", "b"]),
    st.sampled_from(["v1", "v2"]),
    st.sampled_from([200, 400, 429, 504, 599]),
    # The bounds themselves, too: a bucket holds its own.
    st.one_of(st.floats(0, 20), st.sampled_from(SECONDS)),
)


def workers(folder: Path) -> list[Meters]:
    Board.create(folder / "board", WORKERS)
    boards = [Board(folder / "board", row) for row in range(WORKERS)]
    return [Meters(folder / "meters", board) for board in boards]


def samples_of(text: bytes) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text.decode()):
        for each in family.samples:
            if not each.name.endswith("_created"):
                found[each.name, frozenset(each.labels.items())] = each.value
    return found


@given(asked=st.lists(requests, max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sums_are_those_of_the_library(
    asked: list[tuple[int, str, str, int, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    every = workers(tmp_path_factory.mktemp("meters"))
    registry = CollectorRegistry()
    labels = ["model", "version", "status"]
    counter = Counter("limbeck_requests", "Answered.", labels, registry=registry)
    histogram = Histogram(
        "limbeck_request_seconds", "Time.", ["model"], buckets=SECONDS, registry=registry
    )
    for worker, model, version, status, seconds in asked:
        every[worker].count(model, version, status, seconds)
        counter.labels(model, version, str(status)).inc()
        histogram.labels(model).observe(seconds)
    # Whichever worker is asked.
    for meters in every:
        found = samples_of(meters.text())
        for key, value in samples_of(generate_latest(registry)).items():
            # Whole nanoseconds are kept of each.
            assert found[key] == pytest.approx(value, abs=1e-7)
        wanted = {key for key in found if key[0].startswith("limbeck_request")}
        assert wanted == samples_of(generate_latest(registry)).keys()


def test_rows_outcomes_and_the_moment_are_told(tmp_path: Path) -> None:
    first, second, _ = workers(tmp_path)
    first.count_rows("a", "v1", 7, 2)
    second.count_rows("a", "v1", 4, 0)
    second.count_rows("a", "v2", 1, 1)
    for outcome, times in (("same", 3), ("failed", 1)):
        for _ in range(times):
            second.count_shadowed("a", "v2", outcome)
    first.board.own[WAITING], second.board.own[WAITING] = 2, 3
    second.board.beat()
    found = samples_of(first.text())

    def value(name: str, **labels: str) -> float | None:
        return found.get((name, frozenset(labels.items())))

    assert value("limbeck_rows_total", model="a", version="v1") == 11
    assert value("limbeck_abstained_rows_total", model="a", version="v1") == 2
    assert value("limbeck_rows_total", model="a", version="v2") == 1
    told = {"model": "a", "version": "v2"}
    assert value("limbeck_candidate_rows_total", outcome="same", **told) == 3
    assert value("limbeck_candidate_rows_total", outcome="failed", **told) == 1
    assert value("limbeck_candidate_rows_total", outcome="other", **told) is None
    assert value("limbeck_waiting_requests") == 5 and value("limbeck_ready_workers") == 1


def test_a_worker_goes_on_where_the_one_before_was_killed(tmp_path: Path) -> None:
    first, *_ = workers(tmp_path)
    first.count("a", "v1", 200, 0.5)
    again = Meters(tmp_path / "meters", Board(tmp_path / "board", 0))
    again.count("a", "v1", 200, 0.25)
    figures = {name: value for name, _, value in again.samples()}
    assert figures["limbeck_requests_total"] == 2
    assert figures["limbeck_request_seconds_sum"] == pytest.approx(0.75)
