"""The figures of a model's answers, with intervals by documents: one answer is one document's.

A mean over answers has a score interval (`score_interval`). The shares of different words are
of all answers together, which no sum over documents gives: they have none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from limbeck.evaluation.generated.texts import (
    distinct,
    exact_match,
    repetition,
    rouge_l,
    words_of,
)
from limbeck.evaluation.score_interval import Estimate
from limbeck.tasks.types import Array

# Of an answer's text as report.json has them.
DIGITS = 6


@dataclass(frozen=True)
class Written:
    """One answer.

    - `ids`: its tokens, without the one that ends it.
    - `text`: what they say.
    - `ended`: whether the model ended it, and not its greatest length.
    """

    ids: tuple[int, ...]
    text: str
    ended: bool


def figures_of(written: Sequence[Written], references: Sequence[str]) -> dict[str, Any]:
    """What answers are worth, ready for JSON: `rouge_l`, `exact_match`, `ended` and `repetition`,
    shares in [0, 1] with an interval `..._ci95` each; `words` of an answer in the mean, and what
    `variety_of` says. There is at least one answer."""
    answers = [each.text for each in written]
    ended = np.array([each.ended for each in written], np.float64)
    by_answer = {
        "rouge_l": rouge_l(answers, references),
        "exact_match": exact_match(answers, references),
        "ended": ended,
        "repetition": repetition(answers),
    }
    found: dict[str, Any] = {}
    for name, values in by_answer.items():
        found[name] = rounded(values.mean())
        found[f"{name}_ci95"] = interval_of_mean(values)
    return found | variety_of(answers)


def variety_of(texts: Sequence[str]) -> dict[str, Any]:
    """How texts vary: `distinct_1` and `distinct_2` (null where no text has so many words),
    `repetition`, and `words` of a text in the mean."""
    lengths = [len(words_of(text)) for text in texts]
    found: dict[str, Any] = {}
    for length in (1, 2):
        share = distinct(texts, length)
        found[f"distinct_{length}"] = None if np.isnan(share) else rounded(share)
    found["repetition"] = rounded(repetition(texts).mean())
    found["words"] = rounded(np.mean(lengths))
    return found


def interval_of_mean(values: Array) -> list[float]:
    """The 95 % interval of the mean of values in [0, 1], (N)."""
    mean = float(values.mean())
    # A document that none of these is like may have a 1, or a 0.
    estimate = Estimate(
        value=mean,
        rows=values - mean,
        rise=1 - mean,
        fall=mean,
        num_rows=len(values),
    )
    low, high = estimate.interval()
    return [rounded(max(0.0, low)), rounded(min(1.0, high))]


def first_difference(answer: Sequence[int], other: Sequence[int]) -> int | None:
    """The place, from 0, of the first token that differs, or that only one of two answers has; None
    where they are the same.

    >>> first_difference([5, 6, 7], [5, 6]), first_difference([5], [5])
    (2, None)
    """
    for place, (token, other_token) in enumerate(zip(answer, other, strict=False)):
        if token != other_token:
            return place
    shorter = min(len(answer), len(other))
    return None if len(answer) == len(other) else shorter


def differences(written: Sequence[Written], others: Sequence[Written]) -> Mapping[str, Any]:
    """How far two models write alike: `same`, the number of equal answers; `places`, of each answer
    where it first differs (null where it does not); `median`, of those that do."""
    places = [
        first_difference(one.ids, other.ids) for one, other in zip(written, others, strict=True)
    ]
    known = [place for place in places if place is not None]
    return {
        "same": len(places) - len(known),
        "median": float(np.median(known)) if known else None,
        "places": places,
    }


def rounded(value: float | np.floating[Any]) -> float:
    """A figure with the digits of report.json."""
    return round(float(value), DIGITS)
