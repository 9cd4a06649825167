"""How often a watch alarms without a reason, and how soon with one: streams of 100,000 requests, an hour on one core.

`pytest -m nightly -s tests/oracles/test_drift_alarms.py` prints the tables that docs/guide.md and docs/log.md have.
"""

import math
import statistics

import numpy as np
import pytest
from drift_streams import STEP, World, reference_from, shares_of, stream

from limbeck.evaluation.bootstrap import ALPHA
from limbeck.evaluation.drift import watch as watches
from limbeck.evaluation.drift.watch import HORIZON, Watch

STREAMS = 20
SHIFTS = 40
BEFORE = 6_000
LONGEST = 20_000
GRID = [(labels, rows) for labels in (2, 6, 77) for rows in (200, 1000, 10_000)]


def alarms_of(world: World, rows: int, count: int) -> int:
    reference = reference_from(world, rows)
    watch = Watch(reference)
    for counts in stream(reference, world, count):
        watch.look(counts)
    return watch.alarms


@pytest.mark.nightly
@pytest.mark.parametrize(("num_labels", "rows"), GRID)
def test_unshifted_streams_raise_at_most_one_alarm(num_labels: int, rows: int) -> None:
    found = []
    for seed in range(STREAMS):
        # Every second world has labels of which some are rare.
        shares = shares_of(num_labels, 0.7 * (seed % 2))
        world = World(shares, np.random.default_rng([num_labels, rows, seed]))
        found.append(alarms_of(world, rows, HORIZON))
    print(f"| {num_labels} | {rows:,} | {STREAMS} | {sum(each > 0 for each in found)} |")
    assert max(found) <= 1
    # Of 20 at most 1 is expected; 4 or more have a chance of 1.6 %.
    assert sum(each > 0 for each in found) <= 3


@pytest.mark.nightly
@pytest.mark.parametrize(("num_labels", "rows"), [(6, 200), (77, 1000)])
def test_the_level_is_kept_where_it_can_be_counted(
    num_labels: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the level of streams of 1,000 requests, so that alarms are no rarity."""
    monkeypatch.setattr(watches, "HORIZON", 1_000)
    streams, length = 100, 10_000
    alarms = 0
    for seed in range(streams):
        world = World(shares_of(num_labels), np.random.default_rng([num_labels, rows, seed, 1]))
        alarms += alarms_of(world, rows, length)
    most = ALPHA * streams * length / 1_000
    print(
        f"{num_labels} labels, {rows:,} rows: {alarms} alarms in {streams} streams, at most {most:g} on average"
    )
    assert 0 < alarms <= most + 3 * math.sqrt(most)


@pytest.mark.nightly
@pytest.mark.parametrize(("num_labels", "rows"), GRID)
def test_planted_shifts_are_seen_about_as_soon_as_they_can_be(num_labels: int, rows: int) -> None:
    delays: dict[str, list[float]] = {"label": [], "length": []}
    for seed in range(SHIFTS):
        world = World(shares_of(num_labels, 0), np.random.default_rng([num_labels, rows, seed]))
        reference = reference_from(world, rows)
        shifted = {"label": world.moved(0.1, to=num_labels - 1), "length": world.shortened()}
        for what, after in shifted.items():
            watch = Watch(reference)
            counts = np.zeros(0, np.int64)
            for counts in stream(reference, world, BEFORE):
                watch.look(counts)
            seen = math.inf
            for step, grown in enumerate(stream(reference, after, LONGEST, counts), 1):
                if watch.look(grown):
                    seen = step * STEP
                    break
            delays[what].append(seen)
    label, length = (sorted(each) for each in delays.values())
    share = 1 / num_labels
    more = share + 0.1
    nats = more * math.log(more / share) + (1 - more) * math.log((1 - more) / (1 - share))
    # Lorden (1971): a mean time between false alarms of HORIZON / ALPHA requests.
    bound = math.log(HORIZON / ALPHA) / nats
    median, most = statistics.median(label), label[int(0.9 * SHIFTS) - 1]
    within = sum(each <= 500 for each in label) / SHIFTS
    print(
        f"| {num_labels} | {rows:,} | {median:g} | {most:g} | {within:.0%} | {bound:.0f} | {statistics.median(length):g} | {length[-1]:g} |"
    )
    # Where enough requests tell it at all, within 500.
    if bound < 250:
        assert label[-1] <= 500
    assert median <= max(500, 1.5 * bound)
    assert length[-1] <= 500
