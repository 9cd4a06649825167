"""Tests of two sets of counts beside scipy, enumeration and simulation: Fisher's test, and the stability index by chance."""

import math
from itertools import product

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from limbeck.evaluation.drift.tables import (
    index_by_chance,
    index_limit,
    log_p_of_categories,
    stability_index,
)

COUNTS = st.integers(1, 60)


def exact_p(of_reference: int, n: int, of_window: int, m: int) -> float:
    """Twice the smaller tail of the hypergeometric."""
    drawn = scipy.stats.hypergeom(n + m, of_reference + of_window, m)
    tail = min(drawn.sf(of_window - 1), drawn.cdf(of_window))
    return min(1.0, 2 * float(tail))


@given(COUNTS, COUNTS, st.data())
def test_a_category_is_tested_as_by_fisher(n: int, m: int, data: st.DataObject) -> None:
    of_reference = data.draw(st.integers(0, n))
    of_window = data.draw(st.integers(0, m))
    (log_p,) = log_p_of_categories(np.array([of_reference]), n, np.array([of_window]), m)
    expected = exact_p(of_reference, n, of_window, m)
    # Never too small, and near it where it is small.
    assert log_p <= 0
    assert log_p >= math.log(expected) - 1e-9
    if expected < 1e-3:
        assert log_p <= math.log(expected) + 0.7
    # Whose counts are called the reference's does not matter, nor which side of a label is asked.
    (turned,) = log_p_of_categories(np.array([of_window]), m, np.array([of_reference]), n)
    (other,) = log_p_of_categories(np.array([n - of_reference]), n, np.array([m - of_window]), m)
    assert turned == pytest.approx(log_p, abs=1e-9)
    assert other == pytest.approx(log_p, abs=1e-9)


def test_far_tails_are_right() -> None:
    for of_reference, n, of_window, m in (
        (13, 1000, 57, 500),
        (0, 60, 40, 500),
        (90, 200, 300, 500),
    ):
        (log_p,) = log_p_of_categories(np.array([of_reference]), n, np.array([of_window]), m)
        exact = math.log(exact_p(of_reference, n, of_window, m))
        assert exact <= log_p < exact + 0.25


@pytest.mark.parametrize(("n", "m", "share"), [(12, 9, 0.3), (30, 5, 0.05), (4, 25, 0.5)])
def test_an_unshifted_window_is_below_a_level_as_often_as_the_level_says(
    n: int, m: int, share: float
) -> None:
    """Over all that both may draw, by enumeration; no share of the category is known to the test."""
    for level in (0.2, 0.05, 0.01):
        below = 0.0
        for of_reference, of_window in product(range(n + 1), range(m + 1)):
            (log_p,) = log_p_of_categories(np.array([of_reference]), n, np.array([of_window]), m)
            chance = scipy.stats.binom.pmf(of_reference, n, share)
            chance *= scipy.stats.binom.pmf(of_window, m, share)
            below += float(chance) * (math.exp(log_p) <= level)
        assert below <= level


@given(st.lists(st.integers(0, 40), min_size=2, max_size=6), st.data())
def test_the_index_is_its_formula(counts: list[int], data: st.DataObject) -> None:
    others = data.draw(st.lists(st.integers(0, 40), min_size=len(counts), max_size=len(counts)))
    index = stability_index(np.array(counts), np.array(others))
    expected = 0.0
    for one, other in zip(counts, others, strict=True):
        p = (one + 0.5) / (sum(counts) + len(counts) / 2)
        q = (other + 0.5) / (sum(others) + len(counts) / 2)
        expected += (q - p) * math.log(q / p)
    assert index == pytest.approx(expected, abs=1e-12)
    assert index >= 0
    assert stability_index(np.array(counts), np.array(counts)) == 0


def enumerated(together: list[int], m: int) -> tuple[float, float]:
    """Mean and variance of the index over all tables with these sums, each with its probability."""
    total = sum(together)
    values, chances = [], []
    for window in product(*(range(count + 1) for count in together)):
        if sum(window) == m:
            held = np.array(window)
            values.append(stability_index(np.array(together) - held, held))
            ways = math.prod(map(math.comb, together, window))
            chances.append(ways / math.comb(total, m))
    mean = float(np.dot(values, chances))
    return mean, float(np.dot(np.array(values) ** 2, chances)) - mean**2


@pytest.mark.parametrize(
    ("together", "m"), [([40, 50, 60], 60), ([25, 30, 35, 10], 40), ([12, 9, 20, 7, 30], 26)]
)
def test_the_index_by_chance_is_that_of_all_tables(together: list[int], m: int) -> None:
    mean, variance = enumerated(together, m)
    # How the rows lie in the two sets does not matter, their sums do.
    held = np.array(scipy.stats.multivariate_hypergeom.rvs(together, m, random_state=0)).ravel()
    found = index_by_chance(np.array(together) - held, held)
    assert found[0] == pytest.approx(mean, rel=0.02)
    assert found[1] == pytest.approx(variance, rel=0.12)


def test_the_index_by_chance_of_many_rows_is_the_known_one() -> None:
    """(C - 1) (1/n + 1/m), a scaled chi-square (Yurdakul, 2018)."""
    counts = np.full(20, 10_000)
    mean, variance = index_by_chance(counts, counts // 5)
    scale = 1 / 200_000 + 1 / 40_000
    assert mean == pytest.approx(19 * scale, rel=1e-2)
    assert variance == pytest.approx(2 * 19 * scale**2, rel=1e-2)


def test_the_index_of_sparse_labels_by_simulation() -> None:
    """77 labels, of which most have two or three rows: where the formula for many rows is wrong."""
    generator = np.random.default_rng(0)
    n, m = 200, 500
    shares = generator.dirichlet(np.ones(77))
    of_reference, of_window = generator.multinomial(n, shares), generator.multinomial(m, shares)
    together = of_reference + of_window
    draws = generator.multivariate_hypergeometric(together, m, 20_000, method="marginals")
    values = [stability_index(together - draw, draw) for draw in draws]
    mean, variance = index_by_chance(of_reference, of_window)
    assert mean == pytest.approx(np.mean(values), rel=0.01)
    assert variance == pytest.approx(np.var(values), rel=0.05)
    for level in (1e-2, 1e-3):
        limit = index_limit(mean, variance, math.log(level))
        assert limit is not None
        assert np.mean(np.array(values) > limit) == pytest.approx(level, rel=0.5)


@pytest.mark.parametrize("shape", [1.0, 2.5, 8.5, 38.0])
@pytest.mark.parametrize("level", [1e-3, 1e-6, 1e-8])
def test_a_limit_is_a_quantile_of_gamma_or_a_little_above(shape: float, level: float) -> None:
    exact = scipy.stats.gamma(shape, scale=0.01).isf(level)
    limit = index_limit(0.01 * shape, 0.0001 * shape, math.log(level))
    assert limit is not None
    assert exact * 0.999 <= limit <= exact * (1.15 if shape < 2 else 1.08)


def test_one_category_of_all_rows_has_no_limit() -> None:
    mean, variance = index_by_chance(np.array([0, 100, 0]), np.array([0, 500, 0]))
    assert index_limit(mean, variance, math.log(0.01)) is None
    two = index_by_chance(np.array([0, 99, 1]), np.array([0, 500, 0]))
    limit = index_limit(*two, math.log(1e-6))
    assert limit is not None
    assert limit > stability_index(np.array([0, 99, 1]), np.array([0, 500, 0]))
