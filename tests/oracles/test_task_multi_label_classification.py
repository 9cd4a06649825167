"""Several labels: figures by hand, and what an unknown label counts."""

import numpy as np
import pytest
from test_task_masked_lm import tokenizer_text

from limbeck.evaluation.scores import agreement, quality
from limbeck.tasks import UNKNOWN, Scored, differs
from limbeck.tasks.multi_label_classification import MultiLabelClassification

LABELS = list("abcd")
TASK = MultiLabelClassification(LABELS, tokenizer_text())


def scored(logits: np.ndarray, labels: np.ndarray) -> Scored:
    return Scored(logits.astype(np.float32), labels.astype(np.float32), np.arange(len(logits) + 1))


def test_a_worked_example() -> None:
    """Rows 1 and 3 are right; row 2 misses d and adds b; row 4 adds b. Of 6 predicted and 5 true
    labels 4 are right. In row 2 b and c score alike, and so do a and d."""
    rows = [
        {"text": "w1", "label": ["a"]},
        {"text": "w2", "label": ["c", "d"]},
        {"text": "w3", "label": []},
        {"text": "w4", "label": ["a", "d"]},
    ]
    labels = np.concatenate([row.labels for row in TASK.encode(rows)])
    assert labels.tolist() == [[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0], [1, 0, 0, 1]]
    logits = np.array([[1, -1, -1, -1], [-1, 1, 1, -1], [-1, -1, -1, -1], [2, 1, -1, 3]])
    expected = {
        "micro_f1": 8 / 11,
        "macro_f1": (1 + 0 + 1 + 2 / 3) / 4,
        "exact_match": 2 / 4,
        "lrap": (1 + (1 / 2 + 2 / 4) / 2 + 1) / 3,
    }
    assert quality(scored(logits, labels), TASK) == pytest.approx(expected)
    assert len(set(expected.values())) == 4
    report = {row["label"]: row for row in TASK.details(scored(logits, labels))["per_label"]}
    micro = report["micro average"]
    figures = (micro["precision"], micro["recall"], micro["f1"], micro["support"])
    assert figures == pytest.approx((4 / 6, 4 / 5, 8 / 11, 5))
    assert TASK.decode({}, np.array([[0.0, 800, -800, np.log(3)]])) == {
        "labels": ["b", "d"],
        "probabilities": {"a": 0.5, "b": 1.0, "c": 0.0, "d": 0.75},
    }


def test_each_label_is_a_decision_and_an_unknown_one_is_none() -> None:
    labels = np.array([[1, 0, UNKNOWN, 1], [UNKNOWN] * 4])
    own, other = (
        scored(np.ones((2, 4)), labels),
        scored(np.array([[-1, 1, -1, 1], [-1] * 4]), labels),
    )
    assert differs(TASK, own, other).tolist() == [[True, False, False, False], [False] * 4]
    assert agreement(own, other, TASK) == pytest.approx(2 / 3)
    assert quality(other, TASK)["exact_match"] == 0
    assert TASK.statistics(own)[1].tolist() == [0] * 16
    assert (TASK.encode([{"text": "w1", "label": None}])[0].labels == UNKNOWN).all()


def test_one_label_where_a_list_is_needed_is_refused_with_the_cure() -> None:
    with pytest.raises(ValueError, match=r"row 2: the label 'a;b' is one.*label_separator"):
        TASK.find_labels([{"text": "w1", "label": ["a"]}, {"text": "w2", "label": "a;b"}])
