"""Labels that are numbers and lie far from the others: told, and nothing else is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.data.labels.outliers import far_numbers
from limbeck.tasks.ranking import Ranking
from limbeck.tasks.text_classification import TextClassification
from limbeck.tasks.text_regression import TextRegression

NUMBERS = TextRegression
CHANCE = np.random.default_rng(0)


def told(values: np.ndarray) -> list[str]:
    return far_numbers([{"label": float(value)} for value in values], NUMBERS)


def test_a_slip_of_the_decimal_point_is_named() -> None:
    """1 % of scores at 99999 and 1e12 left a range in which nothing was learned, without a word."""
    values = CHANCE.uniform(-1, 11, 400)
    values[[16, 99, 203]] = [99_999, -1e6, 1e12]
    (line,) = told(values)
    assert "3 of 400 train labels" in line
    assert "row 17: 99999, row 100: -1e+06, row 204: 1e+12" in line


@pytest.mark.parametrize(
    "values",
    [
        CHANCE.normal(size=100_000),
        CHANCE.lognormal(0, 1.5, 5_000),
        CHANCE.pareto(2, 5_000),
        CHANCE.exponential(size=10_000),
        np.r_[np.zeros(950), CHANCE.poisson(20, 50)],
        np.ones(10),
        np.arange(5.0),
    ],
)
def test_long_tails_are_left_alone(values: np.ndarray) -> None:
    assert told(values) == []


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_it_never_fails(values: list[float]) -> None:
    assert len(told(np.array(values))) <= 1


def test_other_labels_are_not_read() -> None:
    assert far_numbers([{"label": "a"}], TextClassification) == []
    assert far_numbers([{"label": None}], NUMBERS) == []
    # An item that is to be found is a text.
    assert far_numbers([{"label": "a"}], Ranking) == []
    assert far_numbers([{"text": "a"}], NUMBERS) == []
