"""Which components a recipe names and where, and which keys of ours stand beside theirs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from limbeck.core.registry import WrongKey
from limbeck.recipe.model import (
    Augment,
    Data,
    Distill,
    LossKeys,
    Quantize,
    Recipe,
    Scheme,
    Student,
    Teacher,
    Train,
    Verdict,
)

# The model of the keys at each path of a recipe. Paths of lists are without the number of the item.
STAGES: dict[str, type[BaseModel]] = {
    "": Recipe,
    "data": Data,
    "augment": Augment,
    "teacher": Teacher,
    "teachers": Teacher,
    "assistant": Student,
    "student": Student,
    "train": Train,
    "distill": Distill,
    "quantize": Quantize,
    "quantize.modules": Scheme,
    "verdict": Verdict,
}


@dataclass(frozen=True)
class NamedComponent:
    """A component that a recipe names.

    `path`: where its keys stand in the recipe. `options`: its keys as they were written; None for a
    component that is made from more than its keys, so that it cannot be made from a recipe alone.
    """

    path: list[str]
    family: str
    name: str
    options: dict[str, Any] | None


def named_components(recipe: Recipe) -> Iterator[NamedComponent]:
    """Every component that a recipe names, in the order of its stages.

    The order is that in which mistakes are told: the task and the data first, on which others hang.
    """
    yield NamedComponent(["task"], "tasks", recipe.task, None)
    yield NamedComponent(["data"], "sources", recipe.data.source, recipe.data.options)
    augment = recipe.augment
    if augment:
        yield NamedComponent(["augment"], "augmenters", augment.method, augment.options)
    if recipe.distill:
        yield from _losses(recipe.distill)
    yield from _models(recipe)
    if recipe.quantize:
        yield from _quantizers(recipe.quantize)
    for name in recipe.export:
        yield NamedComponent(["export"], "exporters", name, None)


def _losses(distill: Distill) -> Iterator[NamedComponent]:
    for name, keys in distill.losses.items():
        # The weight is the objective's, which multiplies the loss by it.
        options = {key: value for key, value in keys.items() if key != "weight"}
        yield NamedComponent(["distill", "losses", name], "losses", name, options)


def _models(recipe: Recipe) -> Iterator[NamedComponent]:
    """The teachers, then what assistant and student are cut from, and how."""
    if recipe.teacher:
        teacher = recipe.teacher
        yield NamedComponent(["teacher"], "networks", teacher.model, teacher.options)
    for number, teacher in enumerate(recipe.teachers):
        path = ["teachers", str(number)]
        yield NamedComponent(path, "networks", teacher.model, teacher.options)
    for stage, student in (("assistant", recipe.assistant), ("student", recipe.student)):
        if student and student.origin:
            # Keys beside `from` are the surgery's; a model that is cut has none of its own.
            options = student.options if student.model else {}
            yield NamedComponent([stage], "networks", student.origin, options)
        if student and student.surgery:
            yield NamedComponent([stage], "surgeries", student.surgery, student.options)


def _quantizers(quantize: Quantize) -> Iterator[NamedComponent]:
    # A range is made for a grid, which its keys do not say; left open, it is chosen by trial.
    if quantize.range is not None:
        yield NamedComponent(["quantize", "range"], "ranges", quantize.range, None)
    # Keys beside ours are the rounding's.
    yield NamedComponent(["quantize"], "roundings", quantize.rounding_name, quantize.options)
    for name, options in (quantize.equalize or {}).items():
        yield NamedComponent(["quantize", "equalize", name], "equalizers", name, options)


def known_keys(path: Sequence[str]) -> list[str]:
    """The keys that stand at `path` whatever component is named there, as a recipe spells them."""
    # No model of pydantic's: a typed mapping, which takes the keys of any loss.
    if list(path[:2]) == ["distill", "losses"]:
        return list(LossKeys.__annotations__)
    # Below its name stand a rewrite's own keys alone.
    if list(path[:2]) == ["quantize", "equalize"]:
        return []
    stage = ".".join(part for part in path[:2] if not part.isdecimal())
    fields = STAGES[stage].model_fields
    # `from` is called `from_` in Python alone.
    return [field.alias or name for name, field in fields.items()]


def key_message(path: Sequence[str], error: WrongKey) -> str:
    """The message for a wrong key of the component at `path`; ours stand beside its own, and one of
    them may have been meant."""
    if error.choices is None:
        return str(error)
    choices = [*known_keys(path), *error.choices]
    return str(WrongKey(error.reason, error.key, choices))
