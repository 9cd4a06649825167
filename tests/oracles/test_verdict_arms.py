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


def test_the_arms_differ_in_one_thing_each() -> None:
    recipe: Recipe = parse(RECIPE)
    found = derive_arms(recipe, 1)
    assert list(found) == ["plain", "kd", "kd+ptq", "joint"]
    assert found["plain"].distill is None
    assert found["plain"].quantize is None
    assert found["kd"].quantize is None
    after, joint = found["kd+ptq"].quantize, found["joint"].quantize
    assert after is not None
    assert joint is not None
    assert (after.when, after.open) == (
        "after",
        ["range", "equalize", "rounding"],
    )  # chosen by trial, against what training takes
    assert (joint.when, joint.range, joint.open) == ("train", "lsq", [])
    assert joint == recipe.quantize
    for arm in found.values():
        assert arm.train.seed == 8
        assert arm.verdict is None
        assert arm.train.model_copy(update={"seed": 7}) == recipe.train
        assert (arm.data, arm.teacher, arm.student, arm.task) == (
            recipe.data,
            recipe.teacher,
            recipe.student,
            recipe.task,
        )
    assert all(arm.distill == recipe.distill for name, arm in found.items() if name != "plain")
