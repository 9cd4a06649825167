"""The half of each likelihood that needs no torch: large logits, and which answers are one."""

import numpy as np
import pytest

from limbeck.tasks.likelihood import LIKELIHOODS


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_large_logits_do_not_overflow(name: str) -> None:
    p = np.array([[800.0, -800, 0, 3]], np.float32)
    likelihood = LIKELIHOODS[name]
    assert np.isfinite(likelihood.divergence(p, -p)).all()
    assert likelihood.divergence(p, p) == 0


def test_numbers_are_one_decision_up_to_a_fiftieth_of_the_range() -> None:
    likelihood = LIKELIHOODS["gaussian"]
    found = likelihood.differ(np.array([0.0, 0, 0]), np.array([0.0199, 0.0201, -0.03]))
    assert found.tolist() == [False, True, True]
    # Each within the tolerance of the first, but not of each other.
    assert likelihood.is_one_answer(np.array([0.5, 0.492, 0.508]))
    assert not likelihood.is_one_answer(np.array([0.5, 0.485, 0.515]))
