"""`decide` from a recipe to an artifact that abstains: which rows it learns from, and what it leaves."""

import ast
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import toy_images
from references import check_reference
from without_limbeck import run_program

import limbeck
from limbeck.artifact.evaluate import evaluate
from limbeck.core.files import file_digest
from limbeck.core.system import machine
from limbeck.data.drawing import in_halves
from limbeck.data.splits import load_splits
from limbeck.evaluation.decisions.decision import Decision
from limbeck.pipeline.deciding import asked, making, telling
from limbeck.pipeline.deciding.alike import Decided, told_alike
from limbeck.recipe.model import Data, Decide
from limbeck.reports.calibration import sentences
from limbeck.reports.outcome import sentence
from limbeck.tasks import Scored
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.likelihood import softmax
from limbeck.tasks.multi_label_classification import MultiLabelClassification
from limbeck.tasks.text_classification import TextClassification

RECIPE = f"""{toy_images.RECIPE.replace("epochs: 1", "epochs: 6")}
distill: {{losses: {{kl: {{}}}}}}
quantize: {{when: train}}
decide: {{DECIDE}}
verdict: {{arms: [kd, joint], max_drop: 1, latency_rows: 2}}
"""


def bright(count: int, seed: int) -> list[dict[str, Any]]:
    """Pictures that are dark, grey or bright, with noise enough for some doubt."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        level = 40 + 80 * (number % 3)
        image = generator.normal(level, 60, (8, 8)).clip(0, 255).astype(np.uint8)
        rows.append({"image": image, "label": str(number % 3)})
    return rows


ROWS = {"train": bright(300, 0), "validation": bright(240, 1), "test": bright(90, 2)}


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], tuple[dict[str, Any], Path]]:
    """The report and the folder of a run with this `decide`; each once."""
    cache = tmp_path_factory.mktemp("cache")
    done: dict[str, tuple[dict[str, Any], Path]] = {}

    def run(decide: str) -> tuple[dict[str, Any], Path]:
        if decide not in done:
            out = tmp_path_factory.mktemp("runs") / "run"
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("LIMBECK_CACHE", str(cache))
                recipe = limbeck.parse(RECIPE.replace("{DECIDE}", f"{{{decide}}}"))
                done[decide] = limbeck.run(recipe, out, rows=ROWS), out
        return done[decide]

    return run


def test_a_run_promises_and_its_artifact_keeps_to_it(finished: Any) -> None:
    report, out = finished("max_error: 0.2, confidence: 0.9")
    found = report["calibration"]
    assert list(found["models"]) == ["float", "raw", "fitted", "kept"]
    # Pictures that so small a network answers alike, to the last bit, count once.
    assert 60 < found["promise"]["rows"] <= 120
    assert found["promise"]["threshold"] is not None
    assert found["promise"]["upper"] <= 0.2
    assert not any("decide" in reason for reason in report["verdict"]["reasons"])
    model = limbeck.load(out / "artifact")
    answers = model.predict([row["image"] for row in ROWS["test"]])
    answered = [not answer["abstain"] for answer in answers]
    right = [
        answer["label"] == row["label"] for answer, row in zip(answers, ROWS["test"], strict=True)
    ]
    test = found["promise"]["test"]
    assert test["answered"] == sum(answered)
    errors = sum(said and not is_right for said, is_right in zip(answered, right, strict=True))
    assert test["errors"] == errors
    # `evaluate` counts the same, from the rows alone.
    scores = evaluate(model, ROWS["test"], {})
    assert (scores["answered"]["rows"], scores["answered"]["errors"]) == (sum(answered), errors)
    assert scores["metrics"]["accuracy"] == report["arms"]["joint"]["mean"]["accuracy"]
    cascade = found["cascade"]
    assert cascade[-1]["metrics"] == report["arms"]["teacher"]["mean"]
    assert cascade[0]["metrics"] == report["arms"]["joint"]["mean"]


def test_its_artifact_says_what_it_answered_to_validation(finished: Any) -> None:
    # Both halves of validation: no training saw the labels of the second.
    _, out = finished("max_error: 0.2, confidence: 0.9")
    names = check_reference(out / "artifact", ROWS["validation"])
    assert names == ["label", "confidence", "brightness", "pixels"]
    assert json.loads((out / "artifact" / "manifest.json").read_text())["files"]["reference.json"]


def test_the_same_recipe_leaves_the_same_bytes(finished: Any, tmp_path: Path) -> None:
    _, out = finished("max_error: 0.2, confidence: 0.9")
    text = (out / "recipe.yaml").read_text()
    limbeck.run(limbeck.parse(text), tmp_path / "again", rows=ROWS)
    files = [path.name for path in sorted((out / "artifact").iterdir())]
    assert {"decision.json", "reference.json"} <= set(files)
    for name in set(files) - {"README.md"}:
        again = file_digest(tmp_path / "again" / "artifact" / name)
        assert file_digest(out / "artifact" / name) == again, name


def test_the_card_of_a_run_predicts_without_limbeck(finished: Any, tmp_path: Path) -> None:
    from PIL import Image

    report, out = finished("max_error: 0.2, confidence: 0.9")
    artifact = tmp_path / "elsewhere"
    shutil.copytree(out / "artifact", artifact)
    text = (artifact / "README.md").read_text(encoding="utf-8")
    # 1. What it tells is the report's own, and of its rows none is shown.
    assert sentence(report) in text
    metric = report["arms"]["joint"]["seeds"][0]["metrics"]["accuracy"]
    assert f"| accuracy | {metric:.4f} |" in text
    assert "rows: train 300, validation 120, promise 120, test 90" in text
    # 2. Its program, once for each picture, in a process that cannot import limbeck.
    (program,) = re.findall(r"```python\n(.*?Inference.*?)```", text, re.DOTALL)
    pictures = [str(tmp_path / f"{place}.png") for place in range(9)]
    for row, path in zip(ROWS["test"], pictures, strict=False):
        Image.fromarray(row["image"]).save(path)
    # As its comment says.
    if not machine.multiplies_exactly():
        assert "x64quantprecision" in program
        entry = 'options.add_session_config_entry("session.x64quantprecision", "1")'
        program = program.replace("session = ", f"{entry}\nsession = ", 1)
    programs = [program.replace('"picture.png"', repr(path)) for path in pictures]
    ended = run_program("\n".join(programs), artifact)
    assert ended.returncode == 0, ended.stderr
    printed = [ast.literal_eval(line) for line in ended.stdout.splitlines()]
    answers = limbeck.load(artifact).predict(pictures)
    assert len({answer["label"] for answer in answers}) > 1
    for found, answer in zip(printed, answers, strict=True):
        assert found == {
            key: answer[key] for key in ("label", "probability", "confidence", "abstain")
        }


def test_another_decision_trains_nothing_anew(finished: Any) -> None:
    finished("max_error: 0.2, confidence: 0.9")
    report, out = finished("sets: 0.9")
    trained = [
        stage for stage in report["stages"] if stage["name"].startswith(("train", "teacher"))
    ]
    assert trained and all(stage["reused"] for stage in trained)
    found = report["calibration"]
    assert found["promise"] is None
    assert found["sets"]["test"]["coverage"] > 0.75
    answer = limbeck.load(out / "artifact").predict(ROWS["test"][0]["image"])
    assert answer["label"] in answer["set"]


def test_what_cannot_be_promised_is_not_kept_and_abstains(finished: Any) -> None:
    report, out = finished("max_error: 0.02")
    assert not report["verdict"]["kept"]
    (reason,) = [each for each in report["verdict"]["reasons"] if each.startswith("decide:")]
    assert "149 answered rows without an error would prove it" in reason
    assert limbeck.load(out / "artifact").predict(ROWS["test"][0]["image"])["abstain"]
    recipe = limbeck.parse(RECIPE.replace("{DECIDE}", "{max_error: 0.02}"))
    told = limbeck.check(recipe, rows=ROWS, data_only=True).lines
    assert any(
        line.startswith("decide: 120 rows of validation are kept") and "149 would" in line
        for line in told
    )


def test_only_its_half_of_validation_is_seen_by_training() -> None:
    data = Data(source="rows")
    whole = load_splits(data, ImageClassification, ROWS)
    halved = load_splits(data, ImageClassification, ROWS, halve=0)
    assert (len(halved.validation), len(halved.promise)) == (120, 120)
    assert whole.promise == [] and len(whole.validation) == 240

    def contents(rows: Any) -> list[bytes]:
        return [row["image"].tobytes() for row in rows]

    both = contents([*halved.validation, *halved.promise])
    assert Counter(both) == Counter(contents(whole.validation))
    assert contents(load_splits(data, ImageClassification, ROWS, halve=0).promise) == contents(
        halved.promise
    )
    other = load_splits(data, ImageClassification, ROWS, halve=1)
    assert contents(other.promise) != contents(halved.promise)
    assert whole.fingerprint("train") == halved.fingerprint("train")


def test_what_goes_together_stays_in_one_half() -> None:
    rows = [{"text": f"t{number % 10}", "label": "ab"[number % 2]} for number in range(40)]
    kept, promised = in_halves(rows, TextClassification, 3)
    assert not {row["text"] for row in kept} & {row["text"] for row in promised}
    assert len(kept) == len(promised) == 20
    with pytest.raises(ValueError, match="no half can be kept for the promise"):
        in_halves(rows[:1] * 5, TextClassification, 0)
    one, other = in_halves(rows[:2], TextClassification, 0)
    assert len(one) == len(other) == 1


def test_costs_must_be_those_of_the_labels() -> None:
    labels = ["a", "b", "c"]
    matrix = asked.cost_matrix(
        {"a": {"b": 1, "c": 2}, "b": {"a": 3, "b": 0.5, "c": 4}, "c": {"a": 5, "b": 6}}, labels
    )
    assert matrix.tolist() == [[0, 1, 2], [3, 0.5, 4], [5, 6, 0]]
    for costs, told in (
        ({"a": {"b": 1}, "b": {"a": 1}}, "no cost is said for c"),
        ({"a": {"b": 1}, "b": {"a": 1}, "cc": {}}, "no label `cc` in the data. Did you mean `c`?"),
        (
            {"a": {"b": 1}, "b": {"a": 1, "c": 1}, "c": {"a": 1, "b": 1}},
            "of `a`: no cost is said for c",
        ),
    ):
        with pytest.raises(ValueError, match=told):
            asked.cost_matrix(costs, labels)
    recipe = limbeck.parse(RECIPE.replace("{DECIDE}", "{costs: {x: {y: 1}}}"))
    told = "\n".join(limbeck.check(recipe, rows=ROWS, data_only=True).mistakes)
    assert "decide.costs: no label `x` in the data" in told


def test_thresholds_by_label_raise_the_f1_of_what_is_rare() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(-3, 1.2, (800, 2)).astype(np.float32)
    labels = (
        generator.random((800, 2)) < softmax(np.stack([logits * 0, logits], -1))[..., 1]
    ).astype(np.float32)
    task = MultiLabelClassification(["rare", "seldom"], "")
    halves = [
        Scored(logits[part], labels[part], np.arange(401)) for part in (slice(400), slice(400, 800))
    ]
    decision = making.decided(Decide(thresholds="f1"), task, {"validation": halves[0]})
    answers = making.Answers(halves[1], decision, {"validation": halves[0]})
    told = telling.told_answers(answers, task)
    assert told is not None
    assert told["as_answered"]["macro_f1"] > told["most_probable"]["macro_f1"] + 0.1
    assert list(told["thresholds"]) == ["rare", "seldom"]
    # Order is not decided by thresholds.
    assert told["as_answered"]["lrap"] == pytest.approx(told["most_probable"]["lrap"], abs=0.02)


def test_a_shift_between_validation_and_test_is_told() -> None:
    task = TextClassification(["normal", "ill"], "")
    generator = np.random.default_rng(0)

    def of(share: float, rows: int) -> Scored:
        labels = (generator.random(rows) > share).astype(np.int64)
        logits = generator.normal(0, 1, (rows, 2)) + 2 * np.eye(2)[labels]
        return Scored(logits.astype(np.float32), labels, np.arange(rows + 1))

    held, test = of(0.26, 524), of(0.375, 624)
    decision = making.decided(None, task, {"validation": held})
    found = telling.told_shift(making.Answers(test, decision, {"validation": held}), task)
    assert found is not None and found["p_labels"] < 0.001
    assert "labels are shared out otherwise in test (`normal` 4" in found["words"]
    alike = making.Answers(of(0.26, 600), decision, {"validation": held})
    same = telling.told_shift(alike, task)
    assert same is not None and same["words"] == ""
    calibration = {"promise": broken_promise(), "shift": found}
    (reason,) = telling.reasons(calibration)
    assert "of 100 answered test rows 20 are: at least" in reason
    assert reason.endswith(found["words"])
    assert telling.reasons(json.loads("null")) == []


def test_costs_decide_every_model_and_no_loss_is_made_of_them(finished: Any) -> None:
    # So dear an error that `0` is answered to nearly everything, by whoever decides.
    costs = "{'0': {'1': 1.0e+9, '2': 1.0e+9}, '1': {'0': 1, '2': 1}, '2': {'0': 1, '1': 1}}"
    # The same weights as without costs.
    report, _ = finished(f"sets: 0.9, costs: {costs}")
    probable, _ = finished("sets: 0.9")
    verdict, arms = report["verdict"], report["arms"]
    # The teacher answers as the artifact does, by the same costs.
    accuracy = {arm: arms[arm]["mean"]["accuracy"] for arm in ("teacher", "kd", "joint")}
    assert max(accuracy.values()) < 0.5 < probable["arms"]["joint"]["mean"]["accuracy"]
    assert abs(verdict["drop"]) < 0.15
    assert arms["joint"]["agreement"] > 0.8
    # What was learned is no matter of costs: levels, leads and gains are of the most probable.
    assert verdict["bars"][0] == probable["verdict"]["bars"][0]
    said = [
        {
            reason
            for reason in each["verdict"]["reasons"]
            if reason.startswith("`joint` never answers") or "learned nothing" in reason
        }
        for each in (report, probable)
    ]
    assert said[0] == said[1]
    alike = report["calibration"]["answers"]["alike"]
    models = {name: row for name, row in alike.items() if name != "constant"}
    assert list(models) == ["teacher", "kd", "joint", "baseline"]
    assert all(row["most_probable"] > row["as_answered"] for row in models.values())
    # `0` for every row costs 1 for each of the others, two thirds of the test rows.
    assert alike["constant"] == {"cost": pytest.approx(2 / 3), "label": "0"}
    told = report["calibration"]["answers"]["cost_as_answered"]
    assert models["joint"]["cost"] == pytest.approx(told)
    (line,) = [each for each in sentences(report["calibration"]) if each.startswith("costs:")]
    assert "`0` for every row 0.6667. accuracy from teacher to `joint` falls by" in line


@pytest.mark.parametrize(("misses", "is_broken"), [(363, False), (700, True)])
def test_sets_are_broken_beyond_the_chance_of_both_draws(misses: int, is_broken: bool) -> None:
    labels = np.zeros(3000, np.int64)
    # The true label has .9 or .1, and is in the set from .5 on.
    first = np.where(np.arange(3000) < misses, 0.1, 0.9)
    logits = np.log(np.stack([first, 1 - first], 1))
    sets = {"coverage": 0.9, "least_probability": 0.5, "rows": 100, "needed": 9}
    decision = Decision(likelihood="categorical", sets=sets)
    test = Scored(logits, labels, np.arange(3001))
    found = telling.told_sets(making.Answers(test, decision, {}))
    assert found is not None and found["is_broken"] == is_broken
    reasons = telling.reasons({"sets": found, "promise": None, "shift": None})
    assert len(reasons) == is_broken


def broken_promise() -> dict[str, Any]:
    test = {"answered": 100, "errors": 20, "error_low": 0.136}
    return {"max_error": 0.02, "threshold": 0.5, "test": test, "is_broken": True}


def test_a_model_that_costs_no_less_than_one_answer_is_not_kept() -> None:
    """Dear errors of one kind: the answers are right for the costs, and need no model."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 400)
    logits = generator.normal(0, 1, (400, 2)).astype(np.float32)
    decision = Decision(likelihood="categorical", costs=np.array([[0.0, 1.0], [20.0, 0.0]]))
    task = TextClassification(["0", "1"], "")
    model = Decided(Scored(logits, labels, np.arange(401)), decision)
    alike = told_alike({"joint": model}, task, "accuracy")
    assert alike is not None
    assert alike["constant"]["label"] == "1"
    assert decision.costs is not None
    chosen = decision.costs[labels, task.decisions(model.answered)]
    saved = decision.costs[labels, 1] - chosen
    expected = scipy.stats.ttest_1samp(saved, 0).confidence_interval(0.9).low
    assert alike["joint"]["least_saved"] == pytest.approx(expected)
    (reason,) = telling.reasons({"arm": "joint", "answers": {"alike": alike}})
    assert "`1` for every row" in reason
    assert "not shown to be cheaper" in reason
    # Who tells the labels apart saves nearly all of it.
    logits[np.arange(400), labels] += 20
    surer = Decided(Scored(logits, labels, np.arange(401)), decision)
    sure = told_alike({"joint": surer}, task, "accuracy")
    assert telling.reasons({"arm": "joint", "answers": {"alike": sure}}) == []
