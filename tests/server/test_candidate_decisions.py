"""What two versions have to agree on: the label, the tags or the text, and no promise about them."""

from pathlib import Path
from typing import Any

import pytest
from made import install_products, write_model
from task_examples import EXAMPLES

import limbeck
from limbeck.evaluation.decisions.decision import Decision

pytest.importorskip("orjson")
from limbeck.server.candidates import decision_of


def promising(threshold: float | None) -> Decision:
    promise = {"max_error": 0.02, "confidence": 0.95, "threshold": threshold}
    sets = {"coverage": 0.9, "least_probability": 0.1}
    return Decision(likelihood="categorical", promise=promise, sets=sets)


@pytest.mark.parametrize(
    ("live", "candidate"),
    [
        (None, promising(0.9999)),
        (promising(0.9999), None),
        (promising(0.0), promising(1.0)),
        (promising(0.5), promising(None)),
    ],
)
def test_a_promise_is_no_part_of_a_decision(
    live: Decision | None,
    candidate: Decision | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install_products(tmp_path / "site", monkeypatch)
    answers = []
    for name, decision in (("live", live), ("candidate", candidate)):
        folder = write_model(tmp_path / name, "text-classification", decision=decision)
        answers.append(limbeck.load(folder).predict(EXAMPLES["text-classification"][2]))
    assert answers[0] != answers[1]
    assert decision_of(answers[0]) == decision_of(answers[1])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"label": "a"}, {"label": "b"}),
        ({"labels": ["a"]}, {"labels": ["a", "b"]}),
        ({"tags": ["O", "B-PER"]}, {"tags": ["O", "O"]}),
        ({"score": 0.51}, {"score": 0.53}),
    ],
)
def test_another_decision_is_another_one(one: dict[str, Any], other: dict[str, Any]) -> None:
    promise = {"confidence": 0.9, "abstain": False}
    assert decision_of(one | promise) != decision_of(other | promise)
