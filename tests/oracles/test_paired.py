"""Tango's interval and test of a drop in accuracy, against likelihoods searched by brute force and the exact distribution of what can be seen."""

import math
from collections.abc import Iterator
from math import comb

import numpy as np
import pytest

from limbeck.evaluation.paired import (
    Changes,
    changes_of,
    interval,
    p_of_larger_drop,
    rows_to_prove,
    score,
)

Z = 1.959963984540054


def all_changes(rows: int) -> Iterator[Changes]:
    return (Changes(lost, won, rows) for lost in range(rows + 1) for won in range(rows + 1 - lost))


def probability(seen: Changes, lost: float, won: float) -> float:
    """Of seeing it, where a row is lost and won with these probabilities."""
    same = seen.rows - seen.lost - seen.won
    ways = comb(seen.rows, seen.lost) * comb(seen.rows - seen.lost, seen.won)
    return ways * lost**seen.lost * won**seen.won * max(0.0, 1 - lost - won) ** same


def slow_score(seen: Changes, drop: float) -> float:
    """By the likeliest share of won rows on a fine grid, among those that the drop allows."""
    won = np.linspace(max(0.0, -drop), (1 - drop) / 2, 400_001)[1:-1]
    lost = won + drop
    with np.errstate(divide="ignore"):
        likelihood = (
            (seen.lost * np.log(lost) if seen.lost else 0)
            + (seen.won * np.log(won) if seen.won else 0)
            + (seen.rows - seen.lost - seen.won) * np.log1p(-lost - won)
        )
    best = won[np.argmax(likelihood)]
    variance = seen.rows * (2 * best + drop - drop**2)
    return float((seen.lost - seen.won - seen.rows * drop) / np.sqrt(variance))


@pytest.mark.parametrize(
    ("seen", "drop"),
    [
        (Changes(5, 1, 50), 0.2),
        (Changes(5, 1, 50), -0.03),
        (Changes(12, 2, 50), 0.05),
        (Changes(1, 4, 9), 0.3),
        (Changes(1, 4, 9), -0.8),
        (Changes(30, 41, 200), 0.03),
    ],
)
def test_the_statistic_takes_the_likeliest_shares(seen: Changes, drop: float) -> None:
    assert score(seen, drop) == pytest.approx(slow_score(seen, drop), abs=2e-3)


def test_the_ends_are_where_the_statistic_is_at_its_level() -> None:
    # 36 right twice, 12 lost, 2 won, 0 wrong twice.
    low, high = interval(Changes(12, 2, 50))
    assert (low, high) == (pytest.approx(0.0611, abs=5e-5), pytest.approx(0.3447, abs=5e-5))
    assert score(Changes(12, 2, 50), low) == pytest.approx(Z)
    assert score(Changes(12, 2, 50), high) == pytest.approx(-Z)


def test_no_change_in_n_rows_is_not_no_drop() -> None:
    """The bootstrap said [0, 0] of 60 rows."""
    low, high = interval(Changes(0, 0, 60))
    assert high == pytest.approx(Z**2 / (60 + Z**2))
    assert low == pytest.approx(-high)
    assert p_of_larger_drop(Changes(0, 0, 60), 0.03) > 0.05
    assert p_of_larger_drop(Changes(0, 0, 88), 0.03) < 0.05


@pytest.mark.parametrize("seen", [Changes(60, 0, 60), Changes(0, 60, 60), Changes(1, 0, 1)])
def test_the_ends_of_what_can_be_seen(seen: Changes) -> None:
    low, high = interval(seen)
    drop = (seen.lost - seen.won) / seen.rows
    assert -1 <= low < high <= 1
    assert low - 1e-9 <= drop <= high + 1e-9
    assert 0 <= p_of_larger_drop(seen, 0.1) <= 1


def test_swapped_models_have_the_mirrored_interval() -> None:
    low, high = interval(Changes(5, 1, 50))
    assert interval(Changes(1, 5, 50)) == pytest.approx([-high, -low])


@pytest.mark.parametrize("rows", [30, 60])
@pytest.mark.parametrize("drop", [0.0, 0.01, 0.05])
@pytest.mark.parametrize("won", [0.005, 0.1])
def test_by_enumeration_intervals_cover_and_the_test_seldom_errs(
    rows: int, drop: float, won: float
) -> None:
    """Over everything that can be seen, with its exact probability."""
    truth = (won + drop, won)
    covered = 0.0
    rejected = 0.0
    for seen in all_changes(rows):
        chance = probability(seen, *truth)
        if chance > 1e-12:
            low, high = interval(seen)
            covered += chance * (low <= drop <= high)
            rejected += chance * (drop > 0 and p_of_larger_drop(seen, drop) <= 0.05)
    assert covered > 0.93
    assert rejected < 0.06


def test_rows_to_prove_a_drop_is_ruled_out() -> None:
    # A tenth of the answers changed, max_drop .03: (1.645 + .842)^2 * .1 / .0009.
    assert rows_to_prove(Changes(10, 10, 200), 0.03, 0.05) == 687
    needed = rows_to_prove(Changes(0, 0, 60), 0.03, 0.05)
    assert needed == 88
    assert p_of_larger_drop(Changes(0, 0, needed), 0.03) <= 0.05
    assert p_of_larger_drop(Changes(0, 0, needed - 1), 0.03) > 0.05
    generator = np.random.default_rng(0)
    lost, won, _ = generator.multinomial(687, [0.05, 0.05, 0.9], 400).T
    proved = [
        p_of_larger_drop(Changes(*pair, 687), 0.03) <= 0.05 for pair in zip(lost, won, strict=True)
    ]
    assert np.mean(proved) == pytest.approx(0.8, abs=0.06)


def test_rows_that_changed_are_counted() -> None:
    before, after = np.array([1, 1, 1, 0, 0]) > 0, np.array([1, 0, 1, 0, 1]) > 0
    seen = changes_of(before, after)
    assert seen == Changes(lost=1, won=1, rows=5)
    assert changes_of(np.array([True, True]), np.array([False, True])) == Changes(1, 0, 2)
    assert Changes(1, 2, 5).swapped == Changes(2, 1, 5)
    with pytest.raises(ValueError, match="3 lost and 3 won of 5 rows"):
        Changes(3, 3, 5)
    assert math.isfinite(score(Changes(2, 1, 5), 0.1))
