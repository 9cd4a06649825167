"""Ranking: ranks by a slow loop, and labels that say which item a row has."""

import random
from typing import Any

import numpy as np
import pytest
from test_task_masked_lm import tokenizer_text

from limbeck.evaluation.scores import quality
from limbeck.tasks import UNKNOWN, Scored, figures, metrics
from limbeck.tasks.heads.item_of_query import item_number
from limbeck.tasks.likelihood import is_known
from limbeck.tasks.ranking import Ranking

TASK = Ranking([], tokenizer_text())


def drawn(names: list[str | None], seed: int = 0) -> Scored:
    """Vectors of a query and an item a name; rows of one name share the item's."""
    generator = np.random.default_rng(seed)
    items = {name: generator.normal(size=3) for name in names}
    vectors = np.stack(
        [
            vector
            for name in names
            for vector in (0.5 * items[name] + generator.normal(size=3), items[name])
        ]
    )
    labels = np.array([label for name in names for label in (item_number(name), UNKNOWN)])
    return Scored(
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        labels,
        np.arange(0, len(labels) + 1, 2),
    )


def slow_ranks(scored: Scored, names: list[str | None]) -> dict[int, int]:
    """The rank of each query's item, by hand."""
    items = {name: scored.logits[2 * row + 1] for row, name in enumerate(names) if name}
    found = {}
    for row, name in enumerate(names):
        if name:
            score = {
                other: sum(a * b for a, b in zip(scored.logits[2 * row], vector, strict=True))
                for other, vector in items.items()
            }
            found[row] = 1 + sum(
                value > score[name] for other, value in score.items() if other != name
            )
    return found


@pytest.mark.parametrize("chunk", [1, 40, 2**22])
def test_metrics_are_those_of_a_slow_loop(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among all distinct items, of which two come often, and whatever the chunk; rows of unknown items count nowhere."""
    monkeypatch.setattr(metrics, "SCORES_AT_ONCE", chunk)
    names = [f"item {i}" for i in range(30)] + ["item 0", "item 0", "item 7", None, None]
    random.Random(0).shuffle(names)
    scored = drawn(names)
    ranks = slow_ranks(scored, names)
    assert len(set(ranks.values())) > 8
    wanted = {
        "mrr": np.mean([1 / rank for rank in ranks.values()]),
        "recall_at_1": np.mean([rank <= 1 for rank in ranks.values()]),
        "recall_at_10": np.mean([rank <= 10 for rank in ranks.values()]),
    }
    assert 0 < wanted["recall_at_1"] < wanted["recall_at_10"] < 1
    assert len(set(wanted.values())) == 3
    assert quality(scored, TASK) == pytest.approx(wanted)
    weights = (
        np.random.default_rng(1).integers(0, 3, (5, len(names))).astype(float)
    )  # the queries are drawn, and the items stay
    counted = [
        sum(weight[row] / rank for row, rank in ranks.items()) / sum(weight[row] for row in ranks)
        for weight in weights
    ]
    np.testing.assert_allclose(figures(TASK, scored, weights)["mrr"], counted)


def test_a_model_with_one_vector_for_everything_ranks_last() -> None:
    scored = drawn([f"item {i}" for i in range(12)])
    alike = Scored(np.ones_like(scored.logits), scored.labels, scored.offsets)
    assert quality(alike, TASK) == pytest.approx(
        {"mrr": 1 / 12, "recall_at_1": 0, "recall_at_10": 0}
    )


def test_single_texts_count_nowhere() -> None:
    one = drawn(["a", "b"])
    with_single = Scored(
        np.insert(one.logits, 2, 9, 0), np.insert(one.labels, 2, UNKNOWN), np.array([0, 2, 3, 5])
    )
    assert quality(with_single, TASK) == quality(one, TASK)
    assert TASK.statistics(with_single)[1].tolist() == [0, 0, 0, 0]
    assert is_known(with_single.labels).tolist() == [True, False, False, True, False]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([("q", "a", "1"), ("r", "b", "1")], "row 2: `1` has the text 'b' here and 'a' before"),
        ([("q", "a", "1"), ("r", "a", "2")], "row 2: 'a' has the label `2` here and `1` before"),
        ([("q", "a", ["1", "2"])], "is several, and a query has one item"),
        ([("q", "a", None)], "no row has a label"),
        ([("q", None, "1")], r"row 1 has no item \(`text_b`\)"),
    ],
)
def test_labels_and_items_are_one_to_one(rows: list[Any], told: str) -> None:
    given = [
        {"text": one, "label": label} | ({} if two is None else {"text_b": two})
        for one, two, label in rows
    ]
    with pytest.raises(ValueError, match=told):
        TASK.find_labels(given)
    assert (
        TASK.find_labels(
            [{"text": "q", "text_b": "a", "label": "1"}, {"text": "r", "text_b": "a", "label": "1"}]
        )
        == []
    )
