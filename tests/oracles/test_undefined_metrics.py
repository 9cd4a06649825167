"""Figures that some rows leave undefined, as scikit-learn, seqeval and scipy define them, are told as undefined: a dash, null in JSON, never 0."""

import json
import math
import warnings

import numpy as np
import pytest
import test_task_masked_lm as masked_lm
import test_task_multi_label_classification as several_labels
import test_task_ranking as ranking
import test_task_sentence_embedding as embedding
import test_task_text_regression as regression
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import f1_score, precision_recall_fscore_support, roc_auc_score
from task_examples import IMAGE, TAGS, TEXT

from limbeck.artifact.evaluate import figures_of
from limbeck.cli.evaluate import lines
from limbeck.evaluation.scores import quality, told_quality
from limbeck.tasks import UNKNOWN, Scored, Task
from limbeck.tasks.image_classification import ImageClassification

CLASSES = ImageClassification(list("abc"), IMAGE.preprocess)
TWO = ImageClassification(list("ab"), IMAGE.preprocess)


def classified(decided: list[int], true: list[int], num_labels: int = 3) -> Scored:
    return Scored(np.eye(num_labels)[decided], np.array(true), np.arange(len(true) + 1))


def tagged(decided: list[str], true: list[str]) -> Scored:
    found, labels = (np.array([TAGS.index(tag) for tag in tags]) for tags in (decided, true))
    return Scored(np.eye(len(TAGS))[found], labels, np.array([0, len(true)]))


@pytest.mark.parametrize("task", [CLASSES, TWO], ids=["three labels", "two"])
def test_the_auc_of_rows_of_one_label_is_undefined(task: ImageClassification) -> None:
    scored = classified([0, 1, 1], [1, 1, 1], len(task.labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert math.isnan(roc_auc_score([1, 1, 1], [0, 1, 1]))
    assert told_quality(scored, task)["auc"] is None
    # Beside other answers it is no better than any.
    assert quality(scored, task)["auc"] == 0


def test_a_label_that_is_in_no_row_and_no_answer_has_no_figures() -> None:
    """Precision of what is never answered, recall of what is never true, F1 of neither."""
    true, decided = [0, 0, 1, 1], [0, 0, 0, 0]
    scored = classified(decided, true)
    expected = precision_recall_fscore_support(true, decided, labels=range(3), zero_division=np.nan)
    rows = CLASSES.details(scored)["per_label"]
    for row, *figures in zip(rows, *expected[:3], strict=False):
        own = [row["precision"], row["recall"], row["f1"]]
        assert [figure is None for figure in own] == [math.isnan(figure) for figure in figures]
    assert [rows[1]["precision"], rows[1]["recall"], rows[1]["f1"]] == [None, 0, 0]
    assert rows[2] == {"label": "c", "precision": None, "recall": None, "f1": None, "support": 0}


def test_a_test_set_without_a_label_says_nothing_of_it() -> None:
    """Every answer is right, and c stands nowhere."""
    perfect = classified([0, 1, 1], [0, 1, 1])
    assert told_quality(perfect, CLASSES)["macro_f1"] == 1
    assert f1_score([0, 1, 1], [0, 1, 1], average="macro") == 1
    # What is answered counts, in rows or not.
    wrong = classified([0, 1, 2], [0, 1, 1])
    assert told_quality(wrong, CLASSES)["macro_f1"] == pytest.approx(
        f1_score([0, 1, 1], [0, 1, 2], average="macro")
    )


@pytest.mark.parametrize(
    ("decided", "true", "undefined"),
    [
        (["O", "O"], ["O", "O"], {"f1", "precision", "recall"}),
        (["O", "O"], [TAGS[1], "O"], {"precision"}),
        ([TAGS[1], "O"], ["O", "O"], {"recall"}),
    ],
    ids=["no span anywhere", "none answered", "none true"],
)
def test_figures_of_spans(decided: list[str], true: list[str], undefined: set[str]) -> None:
    assert TAGS[0] == "O"
    found = told_quality(tagged(decided, true), TEXT)
    assert {name for name, value in found.items() if value is None} == undefined


@pytest.mark.parametrize(
    ("values", "labels"),
    [([0.5, 0.5, 0.5], [0.0, 0.2, 0.9]), ([0.1, 0.5, 0.3], [0.2, 0.2, 0.2]), ([0.1], [0.3])],
    ids=["answers that do not vary", "labels that do not", "one row"],
)
def test_correlations(values: list[float], labels: list[float]) -> None:
    if len(values) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert math.isnan(pearsonr(values, labels)[0])
            assert math.isnan(spearmanr(values, labels)[0])
    scored = regression.scored(np.array(values), np.array(labels))
    found = told_quality(scored, regression.TASK)
    assert (found["pearson"], found["spearman"]) == (None, None)
    assert found["root_mean_square_error"] is not None
    assert quality(scored, regression.TASK)["pearson"] == 0
    vectors = np.stack([[(1.0, 0.0), (value, math.sqrt(1 - value**2))] for value in values])
    pairs = np.array([[label, math.nan] for label in labels]).ravel()
    offsets = np.arange(0, 2 * len(labels) + 1, 2)
    alike = Scored(vectors.reshape(-1, 2), pairs, offsets)
    assert set(told_quality(alike, embedding.TASK).values()) == {None}


@pytest.mark.parametrize(
    ("task", "scored", "undefined"),
    [
        (CLASSES, classified([0, 1], [UNKNOWN, UNKNOWN]), {"accuracy", "macro_f1", "auc"}),
        (
            several_labels.TASK,
            several_labels.scored(-np.ones((2, 4)), np.zeros((2, 4))),
            {"micro_f1", "lrap"},
        ),
        (
            ranking.TASK,
            Scored(np.eye(4), np.full(4, UNKNOWN), np.array([0, 2, 4])),
            set(ranking.TASK.metric_names),
        ),
        (
            masked_lm.TASK,
            Scored(np.ones((2, 2)), np.full(2, UNKNOWN), np.array([0, 1, 2])),
            {"nats_per_token", "perplexity", "accuracy"},
        ),
    ],
    ids=["unlabelled", "no label in any row or answer", "no item is known", "nothing is hidden"],
)
def test_rows_that_have_nothing_to_judge_by(
    task: Task, scored: Scored, undefined: set[str]
) -> None:
    found = told_quality(scored, task)
    assert {name for name, value in found.items() if value is None} == undefined


def test_what_is_undefined_is_a_dash_and_null() -> None:
    found = figures_of(classified([0, 1, 1, 1], [1, 1, 1, 1]), CLASSES, np.arange(4))
    assert (found["metrics"]["auc"], found["ci95"]["auc"]) == (None, None)
    assert found["ci95"]["accuracy"] is not None
    assert '"auc": null' in json.dumps(found["metrics"])
    assert "NaN" not in json.dumps(found)
    shown = [*lines({"source": "f", "runtime": "r", "unknown_labels": {}, **found}, [], CLASSES)]
    assert "undefined on these rows (-): auc" in shown
    cells = [cell for table in shown if not isinstance(table, str) for cell in columns(table)]
    assert cells.count("-") > 4
    assert "0.0000" not in cells


def columns(table: object) -> list[str]:
    return [str(cell) for column in table.columns for cell in column.cells]  # type: ignore[attr-defined]


def test_the_interval_of_what_hangs_on_one_row_is_wide() -> None:
    """One row of b in 12: without it there is no AUC, and with it alone nothing is known; resamples told [1, 1]."""
    true = [0] * 11 + [1]
    logits = np.array([[1.0, -1.0]] * 11 + [[-1.0, 1.0]])
    scored = Scored(logits, np.array(true), np.arange(13))
    low, high = figures_of(scored, TWO, np.arange(len(scored.labels)))["ci95"]["auc"]
    assert low < 0.5
    assert high == 1
