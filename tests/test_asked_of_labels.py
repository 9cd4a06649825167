"""What is asked of metrics and labels that cannot be, and rows that contradict one another: told before anything is trained."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from limbeck.core import registry
from limbeck.data.checks import of_one_label
from limbeck.data.splits import check as checked_splits
from limbeck.evaluation.verdict import CONSTANT, Bar, Evidence, judge_arms
from limbeck.pipeline.deciding.asked import check_costs, check_weights
from limbeck.recipe import validate
from limbeck.recipe.model import Recipe, Verdict
from limbeck.recipe.reading import parse
from limbeck.tasks.text_classification import TextClassification
from limbeck.tasks.text_regression import TextRegression

TEXT = """
task: text-classification
data: {source: csv, path: x}
teacher: {model: tiny}
student: {model: tiny}
distill: {}
quantize: {}
verdict: {}
"""


def recipe(*overrides: str) -> Recipe:
    return parse(TEXT, overrides=list(overrides))


def told(*overrides: str) -> str:
    with pytest.raises(ValueError, match=r"verdict\.") as error:
        validate.check_task(recipe(*overrides))
    return str(error.value)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("verdict.min_metric=90", "verdict.min_metric: `accuracy` is never 90: it lies between 0 and 1. Write 0.9 for 90 %"),
        ("verdict.min_metric=-0.1", "verdict.min_metric: `accuracy` is never -0.1: it lies between 0 and 1"),
        ("verdict.max_drop=5", "verdict.max_drop: every drop is at most 5, for `accuracy` lies between 0 and 1. Write 0.05 for 5 %"),
    ],
)  # fmt: skip
def test_what_no_run_could_meet_is_refused(asked: str, message: str) -> None:
    assert told(asked) == f"override `{asked}`: {message}"


@pytest.mark.parametrize(
    "asked", ["verdict.min_metric=1", "verdict.min_metric=0", "verdict.max_drop=1"]
)
def test_the_ends_of_a_metric_may_be_asked_for(asked: str) -> None:
    validate.check_task(recipe(asked))


def test_a_correlation_may_be_negative_and_an_error_any() -> None:
    of_numbers = TEXT.replace("text-classification", "text-regression")
    validate.check_task(
        parse(of_numbers, overrides=["verdict.min_metric=-0.5", "verdict.max_drop=2"])
    )
    large = ["verdict.metric=root_mean_square_error", "verdict.min_metric=90", "verdict.max_drop=5"]
    assert "root_mean_square_error" in registry.load("tasks", "text-regression").metric_names
    validate.check_task(parse(of_numbers, overrides=large))


def test_of_two_overrides_of_a_stage_the_nearest_is_named() -> None:
    asked = recipe("decide.costs={a: {b: 1}}", "decide.max_error=0.3")
    with pytest.raises(ValueError, match="costs") as error:
        check_costs(asked, ["a", "b"])
    assert str(error.value).startswith(
        "override `decide.costs={a: {b: 1}}`: decide.costs: no cost is said for b. Write one"
    )


def test_costs_name_labels_of_digits_as_weights_do() -> None:
    asked = recipe("decide.costs={0: {1: 1}, 1: {0: 5}}")
    assert asked.decide is not None
    assert asked.decide.costs == {"0": {"1": 1}, "1": {"0": 5}}
    check_costs(asked, ["0", "1"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "decide.costs={a:{b:1}, b: {a: 1}}",
            "decide.costs.a.b:1: this is one word to YAML. Put a space behind the colon: `b: 1`",
        ),
        (
            "data.class_weights=balancd",
            "data.class_weights: say `balanced`, or a number for each label that counts otherwise "
            "than the rest, such as {rare: 5}, not 'balancd'",
        ),
        (
            "data.class_weights={rare: -2}",
            "data.class_weights.rare: Input should be greater than 0, not -2",
        ),
        (
            "verdict.arms=[cut]",
            "verdict.arms: the arm `cut` starts from the tuned teacher's layers, and this student "
            "does not. Leave it out: `plain` is its control",
        ),
    ],
)
def test_a_mistake_is_told_once_at_its_key(override: str, message: str) -> None:
    with pytest.raises(ValueError, match="override") as error:
        recipe(override)
    assert str(error.value) == f"override `{override}`: {message}"


def test_weights_of_labels_that_are_not_there_are_refused_when_data_are_read() -> None:
    asked = recipe("data.class_weights={rare: 5, oter: 2}")
    with pytest.raises(ValueError, match=r"data\.class_weights\.oter: .*`oter`.*`other`"):
        check_weights(asked, ["other", "rare"], TextClassification)
    check_weights(recipe("data.class_weights=balanced"), ["other"], TextClassification)


def rows(*pairs: tuple[str, str | None]) -> list[dict[str, Any]]:
    return [{"text": text, "label": label} for text, label in pairs]


def notes(**splits: list[dict[str, Any]]) -> str:
    given = {"validation": rows(("v", "x"), ("w", "y"))} | splits
    return "\n".join(checked_splits(given, TextClassification, "`csv`").notes)


def test_an_input_with_two_labels_is_told() -> None:
    test = rows(("t", "x"), ("u", "y"))
    train = rows(("a", "x"), ("b", "x"), ("b", "y"), ("c", "y"), ("c", "y"))
    found = notes(train=train, test=test)
    assert (
        "2 of 5 train rows are the input of another one with another label, for example row 2: 'b' ('x', 'y')"
        in found
    )
    assert "another label" not in notes(train=train[:2] + train[3:], test=test)


def test_a_test_split_of_one_label_is_told() -> None:
    train = rows(("a", "x"), ("b", "y"))
    found = notes(train=train, test=rows(("t", "x"), ("u", "x")))
    assert "every test row has the label x, of 2 labels" in found
    assert "every test row" not in notes(train=train, test=rows(("t", "x"), ("u", "y")))


@pytest.mark.parametrize(
    ("scores", "is_told"), [((1.5, "1.50", 1.5), True), ((1.5, 2, 1.5), False)]
)
def test_a_test_split_of_one_score_is_told(scores: tuple[Any, ...], is_told: bool) -> None:
    """With one score nothing correlates, and no model is to blame for it."""
    pytest.importorskip("torch")
    from limbeck.pipeline.judging.judged_rows import judged_rows

    rows = [{"text": f"t {number}", "label": score} for number, score in enumerate(scores)]
    nothing = np.zeros(len(rows), bool)
    run: Any = SimpleNamespace(
        data=SimpleNamespace(test=rows, num_grouped=0),
        known_from_train=nothing,
        known_from_validation=nothing,
    )
    for task in (TextRegression, TextRegression(["1 to 2"], "")):
        assert bool(of_one_label(rows, [], task)) == is_told
    found = judged_rows(run, TextRegression(["1 to 2"], ""))
    assert any("every test row has the score 1.5" in why for why in found.reasons) == is_told


def test_the_verdict_blames_a_test_split_that_can_show_nothing() -> None:
    from limbeck.evaluation.compare import Judged
    from limbeck.tasks import Scored

    labels = np.zeros(50, np.int64)
    task: Any = TextClassification(["a", "b"], "")
    right = Judged([Scored(np.eye(2)[labels], labels, np.arange(51))], task).by("accuracy")
    bar = Bar(CONSTANT, "one answer for every row", right, is_perfect=True)
    evidence = Evidence(answers={"teacher": right, "joint": right}, speedup=2.0, bars=[bar])
    verdict = judge_arms(evidence, Verdict(max_drop=0.2))
    assert verdict["reasons"] == [
        "one answer for every row is right for all of this test split, so that it can show nothing "
        "of a model. Give test rows of every label"
    ]


@pytest.mark.parametrize(("num_new", "is_told"), [(0, True), (9, True), (10, False)])
def test_a_test_split_of_rows_of_train_is_told_beforehand(num_new: int, is_told: bool) -> None:
    from limbeck.pipeline.preflight.check import note_of_judged_rows

    train = rows(*((f"old {number}", "xy"[number % 2]) for number in range(20)))
    new = rows(*((f"new {number}", "xy"[number % 2]) for number in range(num_new)))
    given = {"train": train, "validation": rows(("v", "x"), ("w", "y")), "test": train + new}
    splits = checked_splits(given, TextClassification, "`csv`")
    (note,) = note_of_judged_rows(recipe(), splits, TextClassification)
    told = f"verdict: {num_new} test rows cannot prove"
    if is_told:
        told = f"verdict: only {num_new} test rows are not in train too, so that nothing"
    assert note.startswith(told)


def test_a_test_split_of_rows_of_validation_is_told_beforehand() -> None:
    """By them the model is chosen; and copies of the new ones are no further proofs."""
    from limbeck.pipeline.preflight.check import note_of_judged_rows

    held = rows(*((f"old {number}", "xy"[number % 2]) for number in range(20)))
    new = rows(*((f"new {number % 9}", "xy"[number % 2]) for number in range(18)))
    given = {"train": rows(("v", "x"), ("w", "y")), "validation": held, "test": held + new}
    splits = checked_splits(given, TextClassification, "`csv`")
    (note,) = note_of_judged_rows(recipe(), splits, TextClassification)
    told = "verdict: only 9 test rows that differ are not in validation too, so that nothing"
    assert note.startswith(told)
