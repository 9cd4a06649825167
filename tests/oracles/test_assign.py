"""The integer programme against trying every plan."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.analysis.assign import assign, smallest, total, within

pytest.importorskip("scipy")  # the integer programme is its

FORMATS = ("fine", "middle", "coarse")
LOSSES = st.lists(
    st.lists(st.sampled_from([0.0, 1e-9, 3e-7, 1e-4, 0.02, 0.5, 11.0]), min_size=3, max_size=3),
    min_size=5,
    max_size=5,
)
COSTS = st.lists(
    st.lists(st.integers(1, 90_000_000), min_size=3, max_size=3), min_size=5, max_size=5
)


def tables(*values: list[list[float]]) -> list[dict[str, dict[str, float]]]:
    return [
        {f"module {m}": dict(zip(FORMATS, row, strict=True)) for m, row in enumerate(rows)}
        for rows in values
    ]


@settings(max_examples=150)
@given(LOSSES, COSTS, st.floats(0, 1))
def test_no_plan_is_better(losses: list[list[float]], costs: list[list[int]], share: float) -> None:
    loss, cost = tables(losses, costs)
    plans = [dict(zip(loss, forms, strict=True)) for forms in product(FORMATS, repeat=5)]
    prices = sorted(total(plan, cost) for plan in plans)
    limit = prices[int(share * (len(prices) - 1))]  # some plan's very price
    found = assign(loss, cost, limit)
    assert list(found) == list(loss)
    assert total(found, cost) <= limit
    best = min(total(plan, loss) for plan in plans if total(plan, cost) <= limit)
    assert total(found, loss) == pytest.approx(best, rel=1e-5, abs=0)


def test_a_budget_that_a_uniform_plan_meets_exactly_is_met() -> None:
    counts = {f"module {m}": 1000 * m + 7 for m in range(1, 40)}
    costs = {name: {"int4": 4.0 * count, "ternary": 1.6 * count} for name, count in counts.items()}
    losses = {name: {"int4": 1e-5, "ternary": 1.0} for name in counts}
    for bits, form in ((4.0, "int4"), (1.6, "ternary")):
        limit = bits * sum(counts.values())
        assert assign(losses, costs, limit) == dict.fromkeys(counts, form)
        assert within(total(smallest(costs), costs), limit)


def test_small_differences_count_beside_large_losses() -> None:
    losses = {
        "a": {"fine": 1e-9, "coarse": 50.0},
        "b": {"fine": 1e-9, "coarse": 3e-9},
        "c": {"fine": 1e-9, "coarse": 2e-9},
    }
    costs = {name: {"fine": 8.0, "coarse": 4.0} for name in losses}
    assert assign(losses, costs, 20.0) == {"a": "fine", "b": "fine", "c": "coarse"}
