"""Figures of tasks are those of seqeval, scikit-learn and scipy."""

import math

import numpy as np
import pytest
import test_task_masked_lm as masked_lm
import test_task_multi_label_classification as several_labels
import test_task_sentence_embedding as embedding
import test_task_text_regression as regression
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from scipy.stats import pearsonr, spearmanr
from seqeval.metrics.sequence_labeling import get_entities, precision_recall_fscore_support
from sklearn.metrics import (
    accuracy_score,
    classification_report,
    confusion_matrix,
    f1_score,
    label_ranking_average_precision_score,
    roc_auc_score,
)
from sklearn.metrics.pairwise import paired_cosine_distances
from task_examples import (
    IMAGE,
    TAGS,
    TEXT,
)

from limbeck.evaluation.scores import quality
from limbeck.tasks import (
    Scored,
    differs,
    figures,
    metrics,
)
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.likelihood import softmax

any_tags = st.lists(st.lists(st.sampled_from(TAGS), min_size=1, max_size=8), min_size=1, max_size=5)


@given(st.lists(st.sampled_from(TAGS), max_size=12))
def test_spans_are_those_of_seqeval(tags: list[str]) -> None:
    """In its default mode, on any order of tags: conlleval's rules."""
    assert [(kind, first, past - 1) for kind, first, past in metrics.spans(tags)] == get_entities(
        tags
    )


@settings(max_examples=50)
@given(any_tags, st.integers(0, 1000))
def test_entity_f1_is_that_of_seqeval(true: list[list[str]], seed: int) -> None:
    generator = np.random.default_rng(seed)
    found = [
        [tag if generator.random() < 0.7 else str(generator.choice(TAGS)) for tag in tags]
        for tags in true
    ]
    labels, decided = (
        np.array([TAGS.index(tag) for tags in each for tag in tags]) for each in (true, found)
    )
    scored = Scored(np.eye(5)[decided], labels, np.cumsum([0, *map(len, true)]))
    figures = quality(scored, TEXT)
    precision, recall, f1, _ = precision_recall_fscore_support(
        true, found, average="micro", zero_division=0
    )
    assert [figures["precision"], figures["recall"], figures["f1"]] == pytest.approx(
        [precision, recall, f1]
    )


decided_and_true = st.integers(1, 30).flatmap(
    lambda count: st.tuples(*[st.lists(st.integers(0, 3), min_size=count, max_size=count)] * 2)
)


@given(decided_and_true)
def test_figures_are_those_of_scikit_learn(pair: tuple[list[int], list[int]]) -> None:
    decided, true = map(np.array, pair)
    labels = list("abcd")
    task = ImageClassification(labels, IMAGE.preprocess)
    scored = Scored(np.eye(4)[decided], true, np.arange(len(true) + 1))
    figures = quality(scored, task)
    assert figures["accuracy"] == pytest.approx(accuracy_score(true, decided))
    assert figures["macro_f1"] == pytest.approx(
        f1_score(true, decided, average="macro", zero_division=0)
    )
    found = task.details(scored)
    assert found["confusion"]["counts"] == confusion_matrix(true, decided, labels=range(4)).tolist()
    report = classification_report(
        true,
        decided,
        labels=range(4),
        target_names=labels,
        output_dict=True,
        zero_division=np.nan,
    )
    there = classification_report(true, decided, output_dict=True, zero_division=0)
    report |= {name: there[name] for name in ("macro avg", "weighted avg")}
    report["micro average"] = dict.fromkeys(
        ("precision", "recall", "f1-score"), accuracy_score(true, decided)
    ) | {"support": len(true)}
    for row in found["per_label"]:
        expected = report[
            row["label"]
            .replace("macro average", "macro avg")
            .replace("weighted average", "weighted avg")
        ]
        assert numbers(row) == pytest.approx(
            [expected[key] for key in ("precision", "recall", "f1-score", "support")], nan_ok=True
        )


def numbers(row: dict[str, float | None]) -> list[float]:
    """The figures of a label, NaN where they are undefined."""
    figures = [row[key] for key in ("precision", "recall", "f1", "support")]
    return [math.nan if figure is None else figure for figure in figures]


@given(st.integers(2, 40), st.integers(2, 4), st.integers(0, 10_000))
def test_auc_is_that_of_scikit_learn_with_ties_and_weights(
    rows: int, num_labels: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, num_labels, rows)
    logits = generator.integers(-2, 3, (rows, num_labels)).astype(np.float32)  # so few values tie
    weights = generator.integers(0, 3, (4, rows)).astype(float)
    task = ImageClassification(list("abcd")[:num_labels], IMAGE.preprocess)
    scored = Scored(logits, labels, np.arange(rows + 1))
    probabilities = softmax(logits.astype(np.float64))
    for found, weight in zip(figures(task, scored, weights)["auc"], weights, strict=True):
        expected = [
            roc_auc_score(labels == label, probabilities[:, label], sample_weight=weight)
            for label in ([1] if num_labels == 2 else range(num_labels))
            if len(set((labels == label)[weight > 0].tolist())) == 2
        ]
        assert found == pytest.approx(
            np.mean(expected) if expected else math.nan, abs=1e-9, nan_ok=True
        )


def test_nats_of_masked_words_are_those_of_scipy() -> None:
    generator = np.random.default_rng(0)
    logits, labels = (
        (generator.normal(0, 30, (50, 400)) + 1e4).astype(np.float32),
        generator.integers(0, 400, 50),
    )
    wanted = -log_softmax(logits.astype(np.float64), 1)[np.arange(50), labels]
    np.testing.assert_allclose(
        masked_lm.TASK.reduce(logits, labels)[:, 0], wanted, rtol=1e-9, atol=1e-9
    )


@given(st.integers(1, 30), st.integers(0, 10_000))
def test_figures_of_several_labels_are_those_of_scikit_learn(rows: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    logits, labels = (
        generator.normal(size=(rows, 4)).round(seed % 2),
        generator.integers(0, 2, (rows, 4)),
    )
    given_rows = several_labels.scored(logits, labels)
    found, decided = quality(given_rows, several_labels.TASK), logits > 0
    wanted = {
        f"{kind}_f1": f1_score(labels, decided, average=kind, zero_division=0)
        for kind in ("micro", "macro")
    }
    some = labels.any(1)
    ranking = (
        label_ranking_average_precision_score(labels[some], logits[some]) if some.any() else 0
    )  # scikit-learn counts a row without a label as 1
    assert found == pytest.approx(
        wanted | {"exact_match": accuracy_score(labels, decided), "lrap": ranking}
    )
    reports = [
        classification_report(
            labels, decided, target_names=several_labels.LABELS, output_dict=True, zero_division=by
        )
        for by in (np.nan, 0)
    ]
    for row in several_labels.TASK.details(given_rows)["per_label"]:
        is_mean = row["label"] in ("macro average", "weighted average")
        expected = reports[is_mean][row["label"].replace("average", "avg")]
        own = np.nan_to_num(numbers(row)) if is_mean else numbers(row)
        assert list(own) == pytest.approx(
            [expected[key] for key in ("precision", "recall", "f1-score", "support")], nan_ok=True
        )


@given(st.integers(3, 40), st.integers(0, 10_000))
def test_correlations_of_numbers_are_those_of_scipy_on_resampled_rows(rows: int, seed: int) -> None:
    """With ties. A weight of 2 is a row that is there twice."""
    generator = np.random.default_rng(seed)
    values, labels = generator.integers(-3, 4, rows) / 4, generator.integers(0, 5, rows) / 4
    weights = generator.integers(0, 4, (3, rows))
    found = figures(regression.TASK, regression.scored(values, labels), weights.astype(float))
    for draw, weight in enumerate(weights):
        x, y = np.repeat(values, weight), np.repeat(labels, weight)
        varies = len(set(x)) > 1 and len(set(y)) > 1
        assert found["pearson"][draw] == pytest.approx(
            pearsonr(x, y)[0] if varies else math.nan, abs=1e-6, nan_ok=True
        )
        assert found["spearman"][draw] == pytest.approx(
            spearmanr(x, y)[0] if varies else math.nan, abs=1e-9, nan_ok=True
        )
        assert found["root_mean_square_error"][draw] == pytest.approx(
            5 * math.sqrt(np.mean((x - y) ** 2)) if len(x) else math.nan, abs=1e-6, nan_ok=True
        )


def test_correlations_of_embeddings_are_those_of_scipy() -> None:
    generator = np.random.default_rng(0)
    vectors, score = generator.normal(size=(20, 2, 4)), generator.random(20)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    labels = np.stack([score, np.full(20, math.nan)], 1).ravel()
    scored = Scored(vectors.reshape(40, 4), labels, np.arange(0, 41, 2))
    cosines = 1 - paired_cosine_distances(vectors[:, 0], vectors[:, 1])
    wanted = {"spearman": spearmanr(cosines, score)[0], "pearson": pearsonr(cosines, score)[0]}
    assert quality(scored, embedding.TASK) == pytest.approx(wanted)
    np.testing.assert_allclose(embedding.TASK.decisions(scored)[::2], cosines)
    turned = Scored(-scored.logits, labels, scored.offsets)  # both of a pair: no cosine changes
    assert not differs(embedding.TASK, scored, turned).any()
