"""Which components a recipe names and where, and which keys of ours stand beside theirs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from limbeck.core import plug_ins, registry, wording
from limbeck.core.registry import WrongKey
from limbeck.recipe import cures
from limbeck.recipe.model import (
    Augment,
    Data,
    Decide,
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
from limbeck.recipe.problems import Fix, Mistake

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
    "decide": Decide,
    "verdict": Verdict,
}


@dataclass(frozen=True)
class NamedComponent:
    """A component that a recipe names.

    `path`: where its keys stand in the recipe. `options`: its keys as they were written; None for a
    component that is made from more than its keys, so that it cannot be made from a recipe alone.
    `named_by`: the path of the key whose value is the name; None where the name is the last key of
    `path`.
    """

    path: list[str]
    family: str
    name: str
    options: dict[str, Any] | None
    named_by: list[str] | None = None


def named_components(recipe: Recipe) -> Iterator[NamedComponent]:
    """Every component that a recipe names, in the order of its stages.

    The order is that in which mistakes are told: the task and the data first, on which others hang.
    """
    yield NamedComponent(["task"], "tasks", recipe.task, None, ["task"])
    data = recipe.data
    yield NamedComponent(["data"], "sources", data.source, data.options, ["data", "source"])
    augment = recipe.augment
    if augment:
        named_by = ["augment", "method"]
        options = augment.options
        yield NamedComponent(["augment"], "augmenters", augment.method, options, named_by)
    if recipe.distill:
        yield from _losses(recipe.distill)
    yield from _models(recipe)
    if recipe.quantize:
        yield from _quantizers(recipe.quantize)
    for number, name in enumerate(recipe.export):
        yield NamedComponent(["export"], "exporters", name, None, ["export", str(number)])


def _losses(distill: Distill) -> Iterator[NamedComponent]:
    for name, keys in distill.losses.items():
        # The weight is the objective's, which multiplies the loss by it.
        options = {key: value for key, value in keys.items() if key != "weight"}
        yield NamedComponent(["distill", "losses", name], "losses", name, options)


def _models(recipe: Recipe) -> Iterator[NamedComponent]:
    """The teachers, then what assistant and student are cut from, and how."""
    if recipe.teacher:
        yield _teacher(["teacher"], recipe.teacher)
    for number, teacher in enumerate(recipe.teachers):
        yield _teacher(["teachers", str(number)], teacher)
    for stage, student in (
        ("assistant", recipe.assistant),
        ("student", recipe.student),
    ):
        if student and student.origin:
            # Keys beside `from` are the surgery's; a model that is cut has none of its own.
            options = student.options if student.model else {}
            named_by = [stage, "from" if student.from_ else "model"]
            yield NamedComponent([stage], "networks", student.origin, options, named_by)
        if student and student.surgery:
            named_by = [stage, "surgery"]
            options = student.options
            yield NamedComponent([stage], "surgeries", student.surgery, options, named_by)


def _teacher(path: list[str], teacher: Teacher) -> NamedComponent:
    return NamedComponent(path, "networks", teacher.model, teacher.options, [*path, "model"])


def _quantizers(quantize: Quantize) -> Iterator[NamedComponent]:
    # A range is made for a grid, which its keys do not say; left open, it is chosen by trial.
    if quantize.range is not None:
        path = ["quantize", "range"]
        yield NamedComponent(path, "ranges", quantize.range, None, path)
    # Keys beside ours are the rounding's.
    named_by = ["quantize", "rounding"]
    name = quantize.rounding_name
    yield NamedComponent(["quantize"], "roundings", name, quantize.options, named_by)
    for name, options in (quantize.equalize or {}).items():
        yield NamedComponent(["quantize", "equalize", name], "equalizers", name, options)


# Makes a component. Raises ValueError: it does not exist, or refuses a key.
Create = Callable[[NamedComponent], object]


def mistakes_of(component: NamedComponent, create: Create) -> Iterator[Mistake]:
    """Everything for which a component cannot be created, each with the cure.

    Raises ModuleNotFoundError where a package is missing that the component needs.
    """
    options = component.options
    is_left_out = False
    # Each refusal is of one key, which is mended or left out, and then the whole may be refused.
    for _ in range(2 * len(options or ()) + 1):
        try:
            create(replace(component, options=options))
        except WrongKey as error:
            misnamed = _misnamed_network(component)
            if misnamed:
                yield misnamed
                return
            path = [*component.path, error.key]
            fix = _fix_of(component, error)
            is_unknown = error.choices is not None
            yield Mistake(path, key_message(component.path, error), fix, is_unknown)
            # The next one is looked for without it.
            assert options is not None
            value = options[error.key]
            options = {key: options[key] for key in options if key != error.key}
            # Of a key that is meant to be one of ours the component knows nothing.
            if fix and fix.name not in known_keys(component.path):
                options[fix.name or error.key] = value if fix.value is None else fix.value
            is_left_out = is_left_out or not fix
        except ValueError as error:
            # A key that was left out above may be the one that is missing.
            if not is_left_out:
                yield _whole_mistake(component, error)
            return
        else:
            return


def _misnamed_network(component: NamedComponent) -> Mistake | None:
    """That a network of ours is misspelt, which has keys here and may be no folder; else None."""
    ours = registry.names("networks")
    if component.family != "networks" or component.name in ours or not component.named_by:
        return None
    meant = wording.certain(component.name, ours)
    if meant is None:
        return None
    told = f"`{component.name}` is none of our networks. {wording.suggest(component.name, ours)}"
    return Mistake(
        component.named_by,
        told,
        Fix(tuple(component.named_by), value=meant),
    )


def _whole_mistake(component: NamedComponent, error: ValueError) -> Mistake:
    """A mistake that is of no single key: mostly there is no component of that name."""
    choices = registry.names(component.family)
    is_unknown = component.name not in choices
    path = (component.named_by if is_unknown else None) or component.path
    meant = wording.certain(component.name, choices) if is_unknown else None
    fix = None
    if meant and component.named_by:
        fix = Fix(tuple(path), value=meant)
    elif meant:
        fix = Fix(tuple(path), name=meant)
    return Mistake(path, plug_ins.words_of(error), fix)


def _fix_of(component: NamedComponent, error: WrongKey) -> Fix | None:
    """The fix of a key that a component refuses; None where it is not certain."""
    path = [*component.path, error.key]
    value = (component.options or {}).get(error.key)
    if error.choices is None:
        return cures.replaced(path, value, error.reason)
    choices = [*known_keys(component.path), *error.choices]
    return cures.rename(path, choices, beside=component.options or (), elsewhere=())


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
