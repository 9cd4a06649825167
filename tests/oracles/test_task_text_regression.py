"""Text regression: figures by hand, and what a score counts as."""

import math

import numpy as np
import pytest
from test_task_masked_lm import tokenizer_text

from limbeck.evaluation.scores import agreement, quality
from limbeck.tasks import Scored, differs
from limbeck.tasks.text_regression import TextRegression

TASK = TextRegression(["-1 to 4"], tokenizer_text())


def scored(values: np.ndarray, labels: np.ndarray) -> Scored:
    return Scored(
        values[:, None].astype(np.float32), labels.astype(np.float32), np.arange(len(values) + 1)
    )


def test_a_worked_example() -> None:
    """Labels -1, 1.5 and 4 are 0, 1/2 and 1 of the range; answers 0, 1 and 1/4 of it are off by 0,
    2.5 and 3.75. Of ranks 1, 3 and 2 the correlation is 1/2."""
    rows = [{"text": f"w{i}", "label": label} for i, label in enumerate(("-1", "1.5", "4"))]
    labels = np.concatenate([row.labels for row in TASK.encode(rows)])
    assert labels.tolist() == [0, 0.5, 1]
    assert TASK.find_labels(rows) == ["-1 to 4"]
    found = quality(scored(np.array([0, 1, 0.25]), labels), TASK)
    covariance, variances = 0.125, (13 / 24, 1 / 2)
    assert found == pytest.approx(
        {
            "spearman": 0.5,
            "pearson": covariance / math.sqrt(variances[0] * variances[1]),
            "root_mean_square_error": math.sqrt((2.5**2 + 3.75**2) / 3),
        }
    )
    assert TASK.decode({}, np.array([[0.5]])) == {"score": 1.5}


def test_a_score_of_two_models_is_one_decision_up_to_a_fiftieth_of_the_range() -> None:
    labels = np.array([0.5, 0.5, 0.5, math.nan])
    own, other = scored(np.zeros(4), labels), scored(np.array([0.0199, 0.0201, -0.03, 1]), labels)
    assert differs(TASK, own, other).tolist() == [False, True, True, False]
    assert agreement(own, other, TASK) == pytest.approx(1 / 3)


def test_rows_without_a_label_count_nowhere() -> None:
    encoded = TASK.encode([{"text": "w1", "label": None}, {"text": "w2"}])
    assert all(math.isnan(row.labels[0]) for row in encoded)
    labels = np.array([0, 1, math.nan])
    assert quality(scored(np.array([0.1, 0.9, 5]), labels), TASK) == pytest.approx(
        quality(scored(np.array([0.1, 0.9]), labels[:2]), TASK)
    )


@pytest.mark.parametrize("label", ["good", "", "nan", "inf", ["1"]])
def test_a_label_that_is_no_number_is_refused_by_its_row(label: object) -> None:
    with pytest.raises(ValueError, match=r"row 2: label: .* is no number"):
        TASK.find_labels([{"text": "w1", "label": "1"}, {"text": "w2", "label": label}])


def test_one_score_alone_teaches_nothing() -> None:
    with pytest.raises(ValueError, match="one score only"):
        TextRegression(["2 to 2"], tokenizer_text()).encode([{"text": "w1", "label": "2"}])
