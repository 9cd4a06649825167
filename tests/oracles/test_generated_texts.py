"""Figures of generated answers, by counting and by dynamic programming."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.evaluation.generated.texts import (
    distinct,
    exact_match,
    longest_common,
    repetition,
    rouge_l,
    words_of,
)

WORDS = st.lists(st.sampled_from("abcd"), max_size=70)


def by_table(first: list[str], second: list[str]) -> int:
    table = np.zeros((len(first) + 1, len(second) + 1), int)
    for i, one in enumerate(first, 1):
        for j, other in enumerate(second, 1):
            longer = max(table[i - 1, j], table[i, j - 1])
            table[i, j] = table[i - 1, j - 1] + 1 if one == other else longer
    return int(table[-1, -1])


@given(WORDS, WORDS)
@settings(deadline=None)
def test_the_longest_common_subsequence_is_that_of_the_table(
    first: list[str], second: list[str]
) -> None:
    assert longest_common(first, second) == by_table(first, second)


@given(WORDS, WORDS)
@settings(deadline=None)
def test_rouge_is_symmetric_and_1_for_the_same_words_alone(
    first: list[str], second: list[str]
) -> None:
    a, b = " ".join(first), ", ".join(second).upper()
    assert rouge_l([a], [b]) == rouge_l([b], [a])
    assert (rouge_l([a], [b]) == 1) == (first == second) == bool(exact_match([a], [b])[0])


def test_rouge_of_lins_example() -> None:
    """Lin, 2004, section 3.1: S1 police killed the gunman; S2 police kill the gunman; S3 the gunman kill police."""
    reference = "police killed the gunman"
    answers = ["police kill the gunman", "the gunman kill police"]
    np.testing.assert_allclose(rouge_l(answers, 2 * [reference]), [0.75, 0.5])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Don't STOP, ok?", ["don", "t", "stop", "ok"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("東京にAI", ["東", "京", "に", "ai"]),
        ("ﬁne  e\u0301te\u0301", ["fine", "\u00e9t\u00e9"]),
    ],
)
def test_words_of_any_script(text: str, expected: list[str]) -> None:
    assert words_of(text) == expected


def test_distinct_and_repetition_by_hand() -> None:
    answers = ["we are sorry", "we are happy"]
    assert distinct(answers, 1) == 4 / 6
    assert distinct(answers, 2) == 3 / 4
    assert np.isnan(distinct(["a"], 2))
    # a b c a b c a b c: six stretches of four words, three of which are new.
    np.testing.assert_allclose(repetition(["a b c a b c a b c", "a b c", ""]), [0.5, 0, 0])
