"""The verdict's arms: the recipe of each is derived from the one that was asked for."""

from typing import Any

from limbeck.core import registry
from limbeck.recipe.model import TRAINED, Quantize, Recipe


def derive_arms(recipe: Recipe, seed: int) -> dict[str, Recipe]:
    """The derived recipe of every arm asked for; all with the same data, student and steps."""
    assert recipe.verdict is not None
    train = recipe.train.model_copy(update={"seed": recipe.train.seed + seed})
    changes: dict[str, dict[str, Any]] = {
        "plain": {"distill": None, "quantize": None, "teachers": [], "assistant": None},
        "kd": {"quantize": None},
    }
    if recipe.quantize:
        changes |= {
            "kd+ptq": {"quantize": after_training(recipe.quantize)},
            "joint": {"quantize": in_training(recipe.quantize)},
        }
    return {
        name: recipe.model_copy(update={**changes[name], "train": train, "verdict": None})
        for name in recipe.verdict.arms
    }


def after_training(settings: Quantize) -> Quantize:
    """What acts in training alone is left out. Where training learned its range, or took what it takes by default, quantizing afterwards chooses by
    trial (`post_training`)."""
    own = settings.model_dump(by_alias=True) | {
        "when": "after",
        "clip_weight": None,
        "progressive": [],
        "switch_at": [],
    }
    own |= {key: None for key, value in TRAINED.items() if own[key] == value}
    if own["range"] and registry.load("ranges", own["range"]).learned:
        own["range"] = None
    return Quantize.model_validate(own)


def in_training(settings: Quantize) -> Quantize:
    """What acts after training alone, rewrites and roundings by layer, is left out of a joint training: weights take their nearest level."""
    from limbeck.quantization.roundings import (
        LayerRounding,
    )  # imports torch, which reading a report does not need

    own = settings.model_dump(by_alias=True)
    changes: dict[str, Any] = {"when": "train", "equalize": {}}
    if settings.rounding and issubclass(
        registry.load("roundings", settings.rounding), LayerRounding
    ):
        own = {key: value for key, value in own.items() if key not in settings.options}
        changes["rounding"] = TRAINED["rounding"]
    return Quantize.model_validate({**own, **changes})
