"""The verdict's arms: the recipe of each is derived from the one that was asked for."""

from typing import Any

from limbeck.core import registry
from limbeck.quantization.roundings import LayerRounding
from limbeck.recipe.model import (
    GENERATED_START,
    GENERATION,
    TEACHER,
    TRAINED,
    UNTUNED,
    Quantize,
    Recipe,
    Student,
    trained_range,
)


def derive_arms(recipe: Recipe, seed: int) -> dict[str, Recipe]:
    """The recipe of every arm asked for; all with the same data, and all that train with the same
    steps.

    Args:
        recipe: resolved, with a verdict.
        seed: the number of the seed, from 0; added to the recipe's own.

    Returns:
        Recipes without a verdict, by the name of the arm, in the order asked for.
    """
    assert recipe.verdict is not None and recipe.verdict.arms is not None
    train = recipe.train.model_copy(update={"seed": recipe.train.seed + seed})
    changes = changes_of_arms(recipe)
    derived: dict[str, Recipe] = {}
    for name in recipe.verdict.arms:
        # Without a verdict a recipe is one arm, as `run_arm` takes it.
        update = {"train": train, **changes[name], "verdict": None}
        derived[name] = recipe.model_copy(update=update)
    return derived


def changes_of_arms(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """What each arm changes of the recipe.

    The teacher stays in all, for the student may be cut from it; in `plain` and `qat` only its
    model's name and the weights that it began with are used.
    """
    # An assistant would hand on what a teacher answers.
    labels_alone: dict[str, Any] = {"distill": None, "teachers": [], "assistant": None}
    untuned = recipe.student
    if untuned.from_ == TEACHER:
        untuned = untuned.model_copy(update={"from_": UNTUNED})
    changes: dict[str, dict[str, Any]] = {
        "plain": {**labels_alone, "student": untuned, "quantize": None},
        "cut": {**labels_alone, "quantize": None},
        "kd": {"quantize": None},
    }
    if recipe.quantize is None:
        return changes
    after, within = after_training(recipe.quantize), in_training(recipe.quantize, recipe.task)
    # Cut to itself: what is quantized is the tuned model, and nothing is trained.
    whole_teacher = Student.model_validate({"from": TEACHER, "surgery": "same"})
    changes["ptq"] = {
        **labels_alone,
        "student": whole_teacher,
        "train": recipe.train.model_copy(update={"epochs": 0}),
        "quantize": after,
    }
    changes["qat"] = {**labels_alone, "student": untuned, "quantize": within}
    changes["kd+ptq"] = {"quantize": after}
    changes["joint"] = {"quantize": within}
    return changes


def after_training(settings: Quantize) -> Quantize:
    """How the float student is quantized once it is trained.

    What acts in training alone is left out. Where training learned its range, or took what it takes
    by default, quantizing afterwards chooses by trial (`quantization.post_training`): the control
    is the best that can be had without joint training.
    """
    keys = settings.model_dump(by_alias=True)
    keys |= {
        "when": "after",
        "clip_weight": None,
        "progressive": [],
        "switch_at": [],
    }
    # Null leaves a key open, and what is open is tried.
    for key, default_in_training in TRAINED.items():
        if keys[key] == default_in_training:
            keys[key] = None
    name = keys["range"]
    if name and trains_along(name):
        keys["range"] = None
    # Validated anew: `model_copy` would take any value.
    return Quantize.model_validate(keys)


def trains_along(range_name: str) -> bool:
    """Whether a range changes in training, so that afterwards it is none of its kind."""
    range_class = registry.load("ranges", range_name)
    return bool(range_class.learned or range_class.each_step)


def in_training(settings: Quantize, task: str) -> Quantize:
    """How the student of a `task` is quantized while it trains.

    Rewrites and roundings by layer act after training alone and are left out: weights take their
    nearest level.
    """
    keys = settings.model_dump(by_alias=True)
    keys |= {"when": "train", "equalize": {}}
    if settings.range is None:
        keys["range"] = trained_range(task)
    # A recipe that quantizes afterwards says nothing of it.
    if settings.when == "after" and task == GENERATION:
        keys["start"] = settings.start or GENERATED_START
    if settings.rounding and _is_by_layer(settings.rounding):
        # Its own keys, which stand beside ours in the recipe, go with it.
        keys = {key: value for key, value in keys.items() if key not in settings.options}
        keys["rounding"] = TRAINED["rounding"]
    return Quantize.model_validate(keys)


def _is_by_layer(rounding: str) -> bool:
    """Whether a rounding takes whole layers, with what they read, after the training."""
    rounding_class = registry.load("roundings", rounding)
    return issubclass(rounding_class, LayerRounding)


def arm_title(recipe: Recipe) -> str:
    """The arm that a recipe without a verdict is: plain, cut, kd, ptq, qat, kd+ptq or joint."""
    is_joint = recipe.quantize is not None and recipe.quantize.when == "train"
    if recipe.quantize is None:
        without_answers = "cut" if recipe.student.from_ == TEACHER else "plain"
        return "kd" if recipe.distill else without_answers
    if recipe.distill is None:
        return "qat" if is_joint else "ptq"
    return "joint" if is_joint else "kd+ptq"


def training_title(recipe: Recipe) -> str:
    """The arm whose training this is: quantizing afterwards shares the float arm's training."""
    if recipe.quantize is not None and recipe.quantize.when == "after":
        recipe = recipe.model_copy(update={"quantize": None})
    return arm_title(recipe)
