"""decision.json: how `predict`, `predict_proba` and `evaluate` honour it, and what is refused of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call, mistake
from task_examples import INTENT, SEVERAL, TEXT
from test_artifact import artifact as artifact
from test_artifact import table_runtime as table_runtime

import limbeck
from limbeck.artifact import manifest
from limbeck.core.files import write_json
from limbeck.evaluation.decisions.decision import FILE, Decision
from limbeck.tasks import Scored
from limbeck.tasks.likelihood import UNKNOWN, sigmoid, softmax

PROMISE = {"max_error": 0.1, "confidence": 0.95, "threshold": 0.8}


def with_decision(artifact: Path, **content: Any) -> Path:
    """The artifact with a decision of this content, vouched for by its manifest."""
    write_json(artifact / FILE, {"schema": 1, "temperature": 1.0, **content})
    manifest.write_again(artifact)
    return artifact


def test_probabilities_are_the_fitted_ones(artifact: Path) -> None:
    plain = limbeck.load(artifact)
    logits = plain.logits(plain.row("New York"))
    fitted = limbeck.load(with_decision(artifact, temperature=2.5, bias=[0.5, -0.25]))
    expected = softmax(logits.astype(float) / 2.5 + [0.5, -0.25])[0]
    assert fitted.predict_proba("New York") == pytest.approx(expected)
    answer = fitted.predict("New York")
    assert answer["probability"] == pytest.approx(expected.max(), abs=1e-6)
    assert "abstain" not in answer and "set" not in answer
    # The graph's own logits stay what they are, for parity and for who fits by himself.
    assert (fitted.logits(fitted.row("New York")) == logits).all()


def test_an_artifact_without_the_file_answers_as_before(artifact: Path) -> None:
    before = limbeck.load(artifact).predict("New York")
    (artifact / FILE).unlink(missing_ok=True)
    manifest.write_again(artifact)
    found = limbeck.load(artifact)
    assert found.fitted is None
    assert found.predict("New York") == before


def test_what_is_not_vouched_for_or_means_nothing_is_refused(artifact: Path) -> None:
    with_decision(artifact, temperature=2.0)
    content = json.loads((artifact / FILE).read_text())
    (artifact / FILE).write_text(json.dumps(content | {"temperature": 1.0}))
    with pytest.raises(manifest.BrokenArtifact, match=r"decision.json: changed since the export"):
        limbeck.load(artifact)
    for wrong, told in (
        ({"temperature": 0}, "a number above 0"),
        ({"temperature": "2"}, "a number above 0"),
        ({"bias": [1.0]}, r"bias: numbers of shape \(2,\)"),
        ({"bias": [1.0, None]}, "bias: numbers"),
        ({"costs": [[0, 1], [1, "x"]]}, r"costs: numbers of shape \(2, 2\)"),
        ({"promise": {"threshold": "high"}}, "promise: keys with a number"),
        ({"sets": []}, "sets: keys with a number"),
        ({"schema": 2}, "schema 1 was expected"),
    ):
        with pytest.raises(manifest.BrokenArtifact, match=told):
            limbeck.load(with_decision(artifact, **wrong))


def test_a_file_beside_the_manifest_is_refused(artifact: Path) -> None:
    (artifact / FILE).unlink(missing_ok=True)
    manifest.write_again(artifact)
    write_json(artifact / FILE, {"schema": 1, "temperature": 9.0})
    with pytest.raises(manifest.BrokenArtifact, match="somebody put it there"):
        limbeck.load(artifact)


def test_what_is_less_sure_than_the_threshold_abstains(artifact: Path) -> None:
    found = limbeck.load(with_decision(artifact, promise=PROMISE))
    answers = found.predict(["New York", "Ada", "zzz"])
    for answer in answers:
        assert answer["confidence"] == answer["probability"]
        assert answer["abstain"] == (answer["confidence"] < 0.8)
    assert {answer["abstain"] for answer in answers} == {True, False}
    # Nothing could be promised, so that nothing is answered.
    none = limbeck.load(with_decision(artifact, promise=PROMISE | {"threshold": None}))
    assert all(answer["abstain"] for answer in none.predict(["New York", "Ada"]))


def test_costs_and_sets_change_the_answer(artifact: Path) -> None:
    plain = limbeck.load(artifact).predict("New York")
    other = next(label for label in plain["probabilities"] if label != plain["label"])
    index = list(plain["probabilities"]).index(other)
    costs = np.zeros((2, 2))
    costs[index, 1 - index] = 1e6
    dear = limbeck.load(with_decision(artifact, costs=costs.tolist())).predict("New York")
    assert dear["label"] == other
    assert dear["probability"] == plain["probabilities"][other]
    least = plain["probabilities"][other] / 2
    sets = {"coverage": 0.9, "least_probability": least}
    assert limbeck.load(with_decision(artifact, sets=sets)).predict("New York")["set"] == list(
        plain["probabilities"]
    )
    sets = {"coverage": 0.9, "least_probability": 0.5}
    assert limbeck.load(with_decision(artifact, sets=sets)).predict("New York")["set"] == [
        plain["label"]
    ]
    sets = {"coverage": 0.9, "least_probability": None}
    assert len(limbeck.load(with_decision(artifact, sets=sets)).predict("New York")["set"]) == 2


def test_the_verbs_honour_it(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_decision(artifact, promise=PROMISE)
    rows = "text,label\nNew York,place\nzzz,place\nAda,person\nzzz,person\nAda,new\n"
    (tmp_path / "rows.csv").write_text(rows)
    assert call("predict", artifact, tmp_path / "rows.csv", "--out", tmp_path / "out.csv") == 0
    told = capsys.readouterr().err
    header, *lines = (tmp_path / "out.csv").read_text().splitlines()
    assert "abstain" in header and "confidence" in header and len(lines) == 5
    left = sum(line.endswith("True") or ",true" in line.lower() for line in lines)
    assert f"{left} of 5 rows are left to you (`abstain`)" in told and 0 < left < 5
    assert call("evaluate", artifact, tmp_path / "rows.csv", "--json") == 0
    found = json.loads(capsys.readouterr().out)["answered"]
    model = limbeck.load(artifact)
    answered = [
        model.predict(line.split(",")[0])
        for line in rows.splitlines()[1:]
        if not model.predict(line.split(",")[0])["abstain"]
    ]
    assert found["rows"] == len(answered) == round(found["coverage"] * 5)
    # A label that the artifact does not have is an error wherever it answers.
    assert 0 < found["errors"] <= found["rows"]
    assert call("evaluate", artifact, tmp_path / "rows.csv") == 0
    assert f"answers {found['rows']} of 5 rows" in capsys.readouterr().out


def test_several_labels_by_thresholds_of_their_own() -> None:
    logits = np.array([[-1.0, 2.0, 0.5]], np.float32)[:, : len(SEVERAL.labels)]
    size = logits.shape[1]
    thresholds = np.array([0.2, 0.95, 0.5])[:size]
    decision = Decision(likelihood="bernoulli", label_thresholds=thresholds)
    answer = decision.answer(SEVERAL, {}, logits)
    p = sigmoid(logits[0].astype(float))
    given = [
        label
        for label, one, least in zip(SEVERAL.labels, p, thresholds, strict=True)
        if one > least
    ]
    assert answer["labels"] == given
    scored = decision.scored(
        Scored(logits, (p > thresholds)[None].astype(np.float32), np.arange(2))
    )
    assert SEVERAL.decisions(scored).tolist() == [(p > thresholds).tolist()]
    assert not decision.judged(scored).wrong.any()
    product = np.prod(np.where(p > thresholds, p, 1 - p))
    assert decision.confidence(logits, np.array([0, 1])) == pytest.approx(product)


def test_a_sentence_is_wrong_where_any_word_is_and_as_sure_as_all_words() -> None:
    size = len(TEXT.labels)
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(5, size)).astype(np.float32)
    logits[4] = 0
    best = logits.argmax(1)
    labels = best.copy()
    labels[1] = (best[1] + 1) % size
    labels[2:4] = UNKNOWN
    # Sentences of two words, of two without tags, and of one that was cut off.
    scored = Scored(logits, labels, np.array([0, 2, 4, 5]))
    bias = np.arange(size) * -0.001
    decision = Decision(likelihood="categorical", temperature=2.0, bias=bias)
    judged = decision.judged(scored)
    assert judged.wrong.tolist() == [True, False]
    p = softmax(logits[:2].astype(float) / 2 + bias).max(1)
    assert judged.confidence == pytest.approx([p.prod(), 1 / size])
    # A word that is not read stays outside, whatever the bias.
    assert decision.fitted(logits)[4].tolist() == [0] * size
    answer = replace(decision, promise=PROMISE).answer(TEXT, {"words": ["a", "b"]}, logits[:2])
    assert answer["abstain"] == (p.prod() < 0.8) and len(answer["tags"]) == 2


def test_logits_that_are_no_numbers_abstain() -> None:
    logits = np.full((1, len(INTENT.labels)), np.nan, np.float32)
    decision = Decision(likelihood="categorical", promise=PROMISE | {"threshold": 0.0001})
    assert decision.confidence(logits, np.array([0, 1])).tolist() == [0]
    assert decision.answer(INTENT, {}, logits)["abstain"]


@pytest.mark.parametrize(
    ("task", "decide", "told"),
    [
        ("text-regression", "max_error: 0.1", "numbers or vectors, which are not right or wrong"),
        ("token-classification", "sets: 0.9", "does not answer with one label a row"),
        ("multi-label-classification", "costs: {a: {b: 1}}", "one label a row, which costs are of"),
        ("text-classification", "thresholds: f1", "does not decide several labels one by one"),
        ("text-classification", "confidence: 0.9", "name what is to be decided"),
        ("text-classification", "max_error: 0.1, sets: 0.9", "Leave one of them out"),
        ("text-classification", "max_error: 0", "greater than 0"),
        ("text-classification", "costs: {a: {b: -1}, b: {a: 1}}", "greater than or equal to 0"),
    ],
)
def test_what_a_task_cannot_decide_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str, decide: str, told: str
) -> None:
    pytest.importorskip("torch")
    (tmp_path / "train.csv").write_text("text,label\n" + "one,a\ntwo,b\n" * 20)
    (tmp_path / "recipe.yaml").write_text(
        f"task: {task}\ndata: {{source: csv, path: {tmp_path}}}\nstudent: {{model: nowhere}}\n"
        f"quantize: {{}}\ndecide: {{{decide}}}\n"
    )
    assert told in mistake(capsys, "check", tmp_path / "recipe.yaml", "--data-only")
