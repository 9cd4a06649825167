"""The arms that a verdict compares differ in one thing each."""

import pytest

from limbeck.pipeline.arms import derive_arms
from limbeck.pipeline.preflight import compatibility
from limbeck.recipe.model import Recipe
from limbeck.recipe.reading import parse

RECIPE = """
task: image-classification
data: {source: sklearn}
teacher: {model: small_cnn}
student: {model: small_cnn, width: 4}
distill: {losses: {kl: {}}}
quantize: {range: lsq, error_weight: 1.0e-3}
train: {seed: 7}
verdict: {arms: [plain, kd, kd+ptq, joint], seeds: 2}
"""


@pytest.mark.parametrize(
    "keys",
    [
        "range: lsq_plus",
        "range: pact",
        "range: pact, clip_weight: 0.1",
        "range: lsq, weights: int4, progressive: [int8], switch_at: [0.5]",
    ],
)
def test_what_learns_in_training_is_chosen_by_trial_after_it(keys: str) -> None:
    recipe: Recipe = parse(RECIPE.replace("range: lsq", keys))
    found = derive_arms(recipe, 1)
    assert found["joint"].quantize == recipe.quantize
    after = found["kd+ptq"]
    assert after.quantize is not None
    assert (after.quantize.range, after.quantize.clip_weight) == (None, None)
    compatibility.check_components(after)


CUT = RECIPE.replace("{model: small_cnn, width: 4}", "{from: teacher, surgery: same}").replace(
    "[plain, kd, kd+ptq, joint]", "[plain, cut, kd, ptq, qat, kd+ptq, joint]"
)


def test_the_arms_differ_in_one_thing_each() -> None:
    recipe: Recipe = parse(CUT)
    found = derive_arms(recipe, 1)
    assert list(found) == ["plain", "cut", "kd", "ptq", "qat", "kd+ptq", "joint"]
    # 1. What each learns from.
    learns = {name for name, arm in found.items() if arm.distill}
    assert learns == {"kd", "kd+ptq", "joint"}
    assert all(found[name].distill == recipe.distill for name in learns)
    # 2. What each starts from.
    starts = {name: arm.student.from_ for name, arm in found.items()}
    assert {name for name, start in starts.items() if start == "untuned"} == {"plain", "qat"}
    assert {starts[name] for name in ("cut", "kd", "ptq", "kd+ptq", "joint")} == {"teacher"}
    # 3. How each is quantized.
    quantized = {name: arm.quantize.when if arm.quantize else None for name, arm in found.items()}
    assert quantized == {
        "plain": None,
        "cut": None,
        "kd": None,
        "ptq": "after",
        "qat": "train",
        "kd+ptq": "after",
        "joint": "train",
    }
    after, joint = found["kd+ptq"].quantize, found["joint"].quantize
    assert after is not None
    # Chosen by trial, against what training takes.
    assert after.open == ["range", "equalize", "rounding"]
    assert found["ptq"].quantize == after
    assert joint == recipe.quantize == found["qat"].quantize
    # 4. All else is the same, but that of the teacher itself nothing is trained.
    for name, arm in found.items():
        assert arm.train.seed == 8 or name == "ptq"
        assert arm.train.epochs == (0 if name == "ptq" else recipe.train.epochs)
        assert arm.verdict is None
        assert (arm.data, arm.teacher, arm.task) == (recipe.data, recipe.teacher, recipe.task)


def test_a_student_of_its_own_starts_alike_in_every_arm() -> None:
    recipe: Recipe = parse(RECIPE)
    assert {arm.student for arm in derive_arms(recipe, 0).values()} == {recipe.student}


@pytest.mark.parametrize(
    ("changes", "arms"),
    [
        ({}, ["plain", "kd", "kd+ptq", "joint"]),
        ({"quantize": None}, ["plain", "kd"]),
        ({"distill": None}, ["plain", "joint"]),
        ({"teacher": "{model: small_cnn, epochs: 0}"}, ["cut", "kd", "kd+ptq", "joint"]),
        (
            {
                "teacher": "{model: small_cnn, epochs: 0}",
                "student": "{from: small_cnn, surgery: same}",
            },
            ["plain", "kd", "kd+ptq", "joint"],
        ),
    ],
)
def test_arms_left_open_are_those_that_the_recipe_can_have(
    changes: dict[str, str | None], arms: list[str]
) -> None:
    keys: dict[str, str | None] = dict(
        line.split(": ", 1) for line in CUT.strip().splitlines() if not line.startswith("verdict")
    )
    text = "".join(f"{key}: {value}\n" for key, value in {**keys, **changes}.items() if value)
    recipe = compatibility.resolved(parse(text + "verdict: {seeds: 2}\n"))
    assert recipe.verdict is not None
    assert recipe.verdict.arms == arms
