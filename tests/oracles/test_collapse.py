"""A model that gives one answer: what chance is, worked by hand, and when it is told."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from limbeck.core.events import Event, Note
from limbeck.evaluation import chance, collapse
from limbeck.evaluation.scores import quality
from limbeck.tasks import UNKNOWN, Scored, Task
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.multi_label_classification import MultiLabelClassification
from limbeck.tasks.ranking import Ranking
from limbeck.tasks.sentence_embedding import SentenceEmbedding
from limbeck.tasks.text_regression import TextRegression
from limbeck.tasks.token_classification import TokenClassification

IMAGE = ImageClassification(["a", "b", "c"], "{}")
TEXT = TokenClassification(["O", "B-LOC"], "")
SEVERAL = MultiLabelClassification(["a", "b", "c"], "")
SCORE = TextRegression(["0 to 5"], "")


def answers(decided: list[int], labels: list[int]) -> Scored:
    return Scored(np.eye(3)[decided], np.array(labels), np.arange(len(labels) + 1))


def told(epochs: list[list[int]]) -> list[str]:
    events: list[Event] = []
    watch = collapse.Watch(IMAGE, len(epochs), events.append)
    for decided in epochs:
        watch(answers(decided, [0, 1, 2, 1]))
    return [event.text for event in events if isinstance(event, Note)]


def chance_of(scored: Scored, task: Task, metric: str) -> float:
    return quality(chance.best_constant_answer(scored, task, metric), task)[metric]


def several(labels: list[list[float]], logits: list[list[float]] | None = None) -> Scored:
    return Scored(
        np.array(logits or np.zeros_like(labels)), np.array(labels), np.arange(len(labels) + 1)
    )


def test_chance_is_the_metric_of_the_label_that_is_most_frequent() -> None:
    scored = answers([0, 1, 2, 0], [1, 1, 0, 1])
    assert (
        chance.best_constant_answer(scored, IMAGE, "accuracy").logits.argmax(1).tolist() == [1] * 4
    )
    assert chance_of(answers([0] * 4, [1, 1, 0, 1]), IMAGE, "accuracy") == pytest.approx(0.75)
    assert chance_of(answers([0] * 4, [1, 1, 0, 1]), IMAGE, "auc") == pytest.approx(0.5)


def test_a_tagger_that_tags_nothing_is_at_chance() -> None:
    scored = Scored(np.eye(2)[[1, 0, 0, 0]], np.array([0, 0, 0, 1]), np.array([0, 2, 4]))
    assert chance_of(scored, TEXT, "f1") == 0


def test_chance_of_several_labels_by_hand() -> None:
    scored = several([[1, 0, 0], [1, 1, 0], [1, 1, 0], [0, 0, 1], [UNKNOWN] * 3])
    assert chance_of(scored, SEVERAL, "micro_f1") == pytest.approx(
        2 * 5 / (8 + 6)
    )  # a and b: of 8 entries 5 are true, of 6 true ones 5 are found
    assert chance_of(scored, SEVERAL, "macro_f1") == pytest.approx(
        (6 / 7 + 4 / 6 + 2 / 5) / 3
    )  # all three
    assert chance_of(scored, SEVERAL, "exact_match") == pytest.approx(2 / 4)  # a and b
    assert chance_of(
        several([[1, 0, 0], [0, 0, 0], [0, 0, 0]]), SEVERAL, "exact_match"
    ) == pytest.approx(2 / 3)  # none
    assert chance_of(scored, SEVERAL, "lrap") == pytest.approx(
        (1 + 1 + 1 + 1 / 3) / 4
    )  # a before b before c


@given(labels=arrays(np.float64, (6, 3), elements=st.sampled_from([0.0, 1.0])))
def test_no_set_of_labels_for_every_row_is_better_than_chance(labels: np.ndarray) -> None:
    for metric in ("micro_f1", "macro_f1", "exact_match"):
        for chosen in itertools.product((-1.0, 1.0), repeat=3):
            answer = Scored(np.tile(chosen, (6, 1)), labels, np.arange(7))
            assert quality(answer, SEVERAL)[metric] <= chance_of(answer, SEVERAL, metric) + 1e-12


def test_chance_of_scores_is_their_mean() -> None:
    scored = Scored(
        np.array([[0.1], [0.9], [0.4], [0.2]]), np.array([0.0, 1.0, 0.5, np.nan]), np.arange(5)
    )
    assert chance_of(scored, SCORE, "spearman") == chance_of(scored, SCORE, "pearson") == 0
    assert chance_of(scored, SCORE, "root_mean_square_error") == pytest.approx(5 * (1 / 6) ** 0.5)


def test_chance_of_vectors_is_one_vector() -> None:
    vectors, pairs = np.random.default_rng(0).normal(size=(8, 3)), np.arange(0, 9, 2)
    similarities = Scored(
        vectors, np.array([0.1, np.nan, 0.2, np.nan, 0.7, np.nan, 1, np.nan]), pairs
    )
    assert chance_of(similarities, SentenceEmbedding(["0 to 5"], ""), "spearman") == 0
    items = Scored(vectors, np.array([5, UNKNOWN, 6, UNKNOWN, 7, UNKNOWN, 5, UNKNOWN]), pairs)
    assert chance_of(items, Ranking([], ""), "mrr") == pytest.approx(
        1 / 3
    )  # the last of three items


@pytest.mark.parametrize(
    ("epochs", "times"),
    [
        ([[0, 1, 2, 1]] * 3, 0),
        ([[1] * 4, [0, 1, 2, 1], [1] * 4, [0, 1, 2, 1]], 0),
        ([[1] * 4] * 4, 1),
        ([[1] * 4, [1] * 4, [0, 1, 2, 1], [0, 1, 2, 1]], 1),
        ([[0, 1, 2, 1], [1] * 4], 1),
        ([[1] * 4], 1),
    ],
)
def test_one_answer_is_told_once(epochs: list[list[int]], times: int) -> None:
    found = told(epochs)
    assert len(found) == times
    assert all("gets one answer, `b`" in text and "train.learning_rate" in text for text in found)


def test_a_split_of_one_label_is_no_collapse() -> None:
    assert collapse.only_answer(answers([1, 1], [1, 1]), IMAGE) is None
    assert collapse.only_answer(answers([1, 1, 0], [1, 2, UNKNOWN]), IMAGE) == "`b`"


def test_one_answer_of_every_kind() -> None:
    labels = [[1.0, 0, 0], [0, 1, 0], [UNKNOWN] * 3]
    assert (
        collapse.only_answer(several(labels, [[-1, -2, -1], [-3, -1, -1], [1, 1, 1]]), SEVERAL)
        == "no label"
    )
    assert (
        collapse.only_answer(several(labels, [[1, -2, 3], [3, -1, 1], [-1, 1, 1]]), SEVERAL)
        == "`a`, `c`"
    )
    assert (
        collapse.only_answer(several(labels, [[1, 2, 3], [3, -1, 1], [1, 1, 1]]), SEVERAL) is None
    )
    assert (
        collapse.only_answer(
            Scored(np.array([[0.5], [0.501]]), np.array([0.0, 1.0]), np.arange(3)), SCORE
        )
        == "a score of 0.5"
    )
    assert (
        collapse.only_answer(
            Scored(np.array([[0.5], [0.6]]), np.array([0.0, 1.0]), np.arange(3)), SCORE
        )
        is None
    )
    one, other = np.array([[0.6, 0.8]] * 4), np.array([[0.6, 0.8], [0.8, 0.6]] * 2)
    for vectors, found in (
        (one, "a score of 1"),
        (other, "a score of 0.96"),
        (np.eye(2)[[0, 0, 0, 1]], None),
    ):
        scored = Scored(vectors, np.array([0.2, np.nan, 0.9, np.nan]), np.array([0, 2, 4]))
        assert collapse.only_answer(scored, SentenceEmbedding(["0 to 5"], "")) == found
