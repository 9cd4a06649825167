"""What a run tries in several ways and a rehearsal in one: an arm's quantization, on a few rows,
and a teacher's training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from limbeck.data.splits import Splits
from limbeck.pipeline.preflight.minutes import OF_QUANTIZED
from limbeck.pipeline.steps.tries import number_of_tries
from limbeck.quantization import post_training
from limbeck.recipe.model import Recipe

# Rows that a rehearsed quantization is fitted to: enough for ranges, and a second for MiniLM.
CALIBRATION = 64


def in_small(recipe: Recipe) -> tuple[Recipe, int]:
    """An arm's recipe that fits its quantization to CALIBRATION rows at most and tries no ways of
    it; and how many ways the run tries, each of which takes about as long as the one here.

    Roundings of few bits differ in time by tens of times: where they are tried, all are rehearsed.
    """
    settings = recipe.quantize
    if settings is None:
        return recipe, 0
    few = {"calibration_rows": min(CALIBRATION, settings.calibration_rows)}
    small = settings.model_copy(update=few)
    num_ways = 0
    tried = post_training.changes(settings) if settings.open else []
    if tried and not any(key == "rounding" for key, _ in tried):
        # The first way, with a range that takes as long as most.
        small = small.with_chosen(**post_training.FIRST | {"range": "mse"})
        num_ways = 1 + len(tried)
    return recipe.model_copy(update={"quantize": small}), num_ways


def passes_of_correction(recipe: Recipe, weights: Path) -> float:
    """How many passes of the float model the correction takes that a choice may come to: one for
    each layer, quantized, after those before it were corrected, and one in float.

    `weights`: the quantized ones.
    """
    settings = recipe.quantize
    # A recipe that leaves nothing open is rehearsed as it is, its corrections too.
    if settings is None or "bias_correction" in (settings.equalize or {}):
        return 0
    with safe_open(weights, "np") as file:
        names = list(file.keys())
    num_layers = sum(name.endswith(".quantizer.log_scale") for name in names)
    return num_layers * OF_QUANTIZED + 1


def num_tries_of(recipe: Recipe, splits: Splits) -> int:
    """How many settings of the teacher's training the run will try."""
    if recipe.teacher is None:
        return 1
    return number_of_tries(recipe.teacher, len(splits.labelled), len(splits.validation))


def with_one_try(recipe: Recipe) -> Recipe:
    """The recipe with teachers that are trained once."""
    return with_teachers(recipe, {"tries": 1})


def with_teachers(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with other values of some keys of all its teachers."""
    teachers = [each.model_copy(update=changes) for each in recipe.teachers]
    teacher = recipe.teacher.model_copy(update=changes) if recipe.teacher else None
    return recipe.model_copy(update={"teacher": teacher, "teachers": teachers})
