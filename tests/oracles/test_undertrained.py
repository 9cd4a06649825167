"""What says that a model was trained too little: labels that it never answers, steps, and a metric that still rises."""

from typing import Any

import numpy as np
import pytest

from limbeck.evaluation.undertrained import never_answered, rise_at_the_end, signs, steps_of
from limbeck.tasks import Scored
from limbeck.tasks.multi_label_classification import MultiLabelClassification
from limbeck.tasks.text_classification import TextClassification
from limbeck.tasks.text_regression import TextRegression
from limbeck.tasks.token_classification import TokenClassification


def scored(labels: list[int], decided: list[int], size: int) -> Scored:
    return Scored(np.eye(size)[decided], np.array(labels), np.arange(len(labels) + 1))


def test_a_label_of_ten_rows_that_no_row_gets_is_named() -> None:
    task = TextClassification(["a", "b", "c"], "")
    labels = [0] * 12 + [1] * 10 + [2] * 9
    assert never_answered(scored(labels, [0] * 31, 3), task) == {"b": 10}
    # Once is enough, be it wrong.
    assert never_answered(scored(labels, [1] + [0] * 30, 3), task) == {}
    # An unknown label is no row of it.
    fewer = scored([*labels[:-10], -100, *labels[-9:]], [0] * 31, 3)
    assert never_answered(fewer, task) == {}
    assert never_answered(fewer, task, 2) == {"b": 9, "c": 9}


def test_of_tags_a_type_counts_as_one() -> None:
    task = TokenClassification(["O", "B-LOC", "I-LOC", "B-PER", "I-PER"], "")
    labels = [0] * 30 + [1] * 6 + [2] * 5 + [3] * 11 + [4] * 20
    decided = [0] * 41 + [3] * 31
    assert never_answered(scored(labels, decided, 5), task) == {"LOC": 11}


def test_of_several_labels_each_counts_by_itself() -> None:
    task = MultiLabelClassification(["a", "b"], "")
    labels = np.stack([np.arange(20) < 10, np.arange(20) < 12], 1).astype(np.float32)
    logits = np.where(np.array([[True, False]]), 1.0, -1.0).repeat(20, 0)
    found = Scored(logits, labels, np.arange(21))
    assert never_answered(found, task) == {"b": 12}


def test_a_type_of_tags_is_counted_by_sentences() -> None:
    """16 spans of 3 words were `48 test rows`."""
    task = TokenClassification(["O", "B-LOC", "I-LOC", "B-PER"], "")
    # Twelve sentences: an entity of three words in each, and in six another one of two.
    sentences = [[1, 2, 2, 0] + [3] * (number % 2) for number in range(12)]
    labels = np.array([tag for sentence in sentences for tag in sentence])
    offsets = np.cumsum([0, *map(len, sentences)])
    logits = np.zeros((len(labels), 4))
    logits[:, 0] = 1
    found = Scored(logits, labels, offsets)
    assert never_answered(found, task) == {"LOC": 12}
    assert never_answered(found, task, 2) == {"LOC": 12, "PER": 6}


def test_numbers_have_no_labels() -> None:
    found = Scored(np.zeros((20, 1)), np.linspace(0, 1, 20), np.arange(21))
    assert never_answered(found, TextRegression(["0 to 1"], "")) == {}


def history(*values: float, step: int = 100, metric: str = "accuracy") -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = []
    for epoch, value in enumerate(values):
        end = step * (epoch + 1)
        points += [
            {"step": end, "epoch": epoch, "losses": {"total": 1.0}},
            {"step": end, "epoch": epoch, "validation": {metric: value}},
        ]
    return points


@pytest.mark.parametrize(
    ("values", "rows", "rise"),
    [
        ((0.5, 0.6, 0.7, 0.8), 1000, 0.1),  # the last of four is the last quarter
        ((0.5, 0.7, 0.8, 0.79), 1000, None),
        ((0.5, 0.6, 0.75, 0.7505), 1000, None),  # less than 1 / sqrt(1000)
        ((0.5, 0.6, 0.7, 0.8), 50, None),  # fifty rows cannot show a tenth
        ((0.1, 0.3, 0.5, 0.55, 0.6, 0.65, 0.7, 0.72), 1000, 0.07),
        ((0.9,), 1000, None),  # one epoch says nothing of a rise
        ((), 1000, None),
    ],
)
def test_a_metric_that_rises_to_the_end(
    values: tuple[float, ...], rows: int, rise: float | None
) -> None:
    found = rise_at_the_end(history(*values), "accuracy", rows)
    assert found == (None if rise is None else pytest.approx(rise))


def test_an_error_rises_by_falling() -> None:
    falling = history(0.9, 0.7, 0.5, 0.3, metric="root_mean_square_error")
    assert rise_at_the_end(falling, "root_mean_square_error", 1000) == pytest.approx(0.2)
    assert rise_at_the_end(falling[::-1], "root_mean_square_error", 1000) is None


def test_the_signs_name_the_key() -> None:
    few = history(0.5, 0.6, 0.6, 0.6, step=2)
    assert steps_of(few) == 8
    assert signs(few, "accuracy", 1000, "teacher.epochs") == [
        "was trained for 8 steps, which is too few: raise teacher.epochs"
    ]
    (rising,) = signs(history(0.5, 0.6, 0.7, 0.8), "accuracy", 1000, "train.epochs")
    assert rising.startswith("was still learning when its training ended")
    assert rising.endswith("better by 0.1000 in the last quarter): raise train.epochs")
    # A teacher that came tuned has no training to be short.
    assert signs([], "accuracy", 1000, "teacher.epochs") == []


def test_a_training_that_waited_in_vain_was_not_too_short() -> None:
    rising = history(0.5, 0.6, 0.7, 0.8, step=10)
    assert len(signs(rising, "accuracy", 1000, "train.epochs")) == 2
    end = {"step": 40, "epoch": 3, "kept": {"epoch": 3, "step": 40, "ended": "epochs"}}
    assert len(signs([*rising, end], "accuracy", 1000, "train.epochs")) == 2
    end["kept"] = {"epoch": 1, "step": 20, "ended": "patience"}
    assert signs([*rising, end], "accuracy", 1000, "train.epochs") == []
