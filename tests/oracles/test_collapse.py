"""A model that gives one answer: what chance is, worked by hand, and when it is told."""

import numpy as np
import pytest

from limbeck import collapse, evaluate
from limbeck.progress import Event, Note
from limbeck.tasks import UNKNOWN, Scored
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.token_classification import TokenClassification

IMAGE = ImageClassification(["a", "b", "c"], "{}")
TEXT = TokenClassification(["O", "B-LOC"], "")


def answers(decided: list[int], labels: list[int]) -> Scored:
    return Scored(np.eye(3)[decided], np.array(labels), np.arange(len(labels) + 1))


def told(epochs: list[list[int]]) -> list[str]:
    events: list[Event] = []
    watch = collapse.Watch(IMAGE, len(epochs), events.append)
    for decided in epochs:
        watch(answers(decided, [0, 1, 2, 1]))
    return [event.text for event in events if isinstance(event, Note)]


def test_chance_is_the_metric_of_the_label_that_is_most_frequent() -> None:
    assert collapse.constant(answers([0, 1, 2, 0, 1], [1, 1, 0, 1, UNKNOWN]), 3).decisions.tolist() == [1] * 5
    found = evaluate.quality(collapse.constant(answers([0] * 4, [1, 1, 0, 1]), 3), IMAGE)
    assert found["accuracy"] == pytest.approx(0.75)
    assert found["auc"] == pytest.approx(0.5)


def test_a_tagger_that_tags_nothing_is_at_chance() -> None:
    scored = Scored(np.eye(2)[[1, 0, 0, 0]], np.array([0, 0, 0, 1]), np.array([0, 2, 4]))
    assert evaluate.quality(collapse.constant(scored, 2), TEXT)["f1"] == 0


@pytest.mark.parametrize(
    ("epochs", "times"),
    [
        ([[0, 1, 2, 1]] * 3, 0),
        ([[1] * 4, [0, 1, 2, 1], [1] * 4, [0, 1, 2, 1]], 0),
        ([[1] * 4] * 4, 1),
        ([[0, 1, 2, 1], [1] * 4], 1),
        ([[1] * 4], 1),
    ],
)
def test_one_answer_is_told_once(epochs: list[list[int]], times: int) -> None:
    found = told(epochs)
    assert len(found) == times
    assert all("gets one answer, `b`" in text and "train.learning_rate" in text for text in found)


def test_a_split_of_one_label_is_no_collapse() -> None:
    assert collapse.only_answer(answers([1, 1], [1, 1])) is None
    assert collapse.only_answer(answers([1, 1, 0], [1, 2, UNKNOWN])) == 1
