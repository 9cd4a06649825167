"""Whether what a recipe names exists and fits together: the components are asked, before any work.

A recipe alone is checked for shape and names (`recipe.model`, `recipe.validate`). Here every
component is created once from its keys, and what only components know is compared: the formats that
a rounding is made for, whether a range learns a clipping bound, what a loss reads.
"""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from limbeck.core import plug_ins, registry
from limbeck.core.wording import nearest
from limbeck.recipe import validate
from limbeck.recipe.components import NamedComponent, key_message, named_components
from limbeck.recipe.learning_rates import with_rates
from limbeck.recipe.model import Quantize, Recipe

# This file is imported where torch is not installed, by `limbeck check --data-only`.
if TYPE_CHECKING:
    from limbeck.losses import Loss

# What a loss reads that compares answers and nothing inside the models.
LOGITS_ALONE = ("logits",)


def check_components(recipe: Recipe) -> None:
    """Refuse a recipe whose components do not exist, do not take their keys or do not fit together.

    Raises:
        ValueError: with file, line, column, key and cure.
    """
    # Each by itself first: what does not exist cannot be asked what it fits.
    mistakes = []
    for component in named_components(recipe):
        found = mistake_of(component)
        if found:
            mistakes.append(str(recipe.mistake(*found)))
        # A task or a source that is not there is told alone: what else is named may hang on it.
        if found and found[0] in (["task"], ["data"]):
            break
    if mistakes:
        raise ValueError("\n".join(mistakes))
    validate.check_task(recipe)
    _check_soft_losses(recipe)
    if recipe.quantize:
        _check_rounding(recipe, recipe.quantize)
        _check_clip_weight(recipe, recipe.quantize)
        validate.check_formats(recipe)
        validate.check_rewrites(recipe)


def resolved(recipe: Recipe, own: Collection[str] = ()) -> Recipe:
    """The recipe with every default written out, after `check_components`.

    Resolving a resolved recipe changes nothing.

    Args:
        recipe: as it was read.
        own: names of the user's modules.

    Raises:
        ValueError: as `check_components`.
    """
    check_components(recipe)
    content = with_rates(recipe, own).dump()
    if content["verdict"]:
        content["verdict"]["metric"] = recipe.judged_metric
        content["verdict"]["arms"] = content["verdict"]["arms"] or validate.default_arms(recipe)
    for component in named_components(recipe):
        # A component without options is made from more than its keys; a model that is none of our
        # networks has none.
        if component.options is None or component.name not in registry.names(component.family):
            continue
        keys = _keys_at(content, component.path)
        for key, parameter in registry.keys(component.family, component.name).items():
            if parameter.default is not parameter.empty:
                # As a recipe would write it: an Enum by its value.
                keys.setdefault(key, to_jsonable_python(parameter.default))
        # The weight is the objective's key, which the loss's constructor does not have.
        if component.family == "losses":
            keys.setdefault("weight", 1.0)
    # A message about the data still says where the recipe stood.
    return recipe.with_content(content)


def _keys_at(content: Any, path: list[str]) -> dict[str, Any]:
    """The keys that stand at `path` in a recipe's plain data, to be changed in place."""
    for part in path:
        content = content[int(part)] if isinstance(content, list) else content[part]
    return content


def check_component(recipe: Recipe, component: NamedComponent) -> None:
    """Create a component, and tell its complaint at its place.

    Raises:
        ValueError: it cannot be created.
    """
    found = mistake_of(component)
    if found:
        raise recipe.mistake(*found)


def named_models(recipe: Recipe) -> Iterator[tuple[list[str], str]]:
    """(path, name) of each model that is none of our networks."""
    ours = registry.names("networks")
    for component in named_components(recipe):
        if component.family != "networks" or component.name in ours:
            continue
        # A student's may be what it is cut from.
        keys = _keys_at(recipe.dump(), component.path)
        key = "from" if keys.get("from") == component.name else "model"
        yield [*component.path, key], component.name


def require_models(recipe: Recipe, own: Collection[str] = ()) -> None:
    """Ask, before any work, for each model by folder or hub id. `own`: names of the user's modules.

    Raises:
        ValueError: one is not to be had; with its key and the cure.
    """
    # Imported here: `check --data-only` needs neither torch nor transformers.
    from limbeck.models.create import require

    for path, name in named_models(recipe):
        if name in own:
            continue
        try:
            require(name)
        except ValueError as error:
            raise recipe.mistake(path, str(error)) from None


def mistake_of(component: NamedComponent) -> tuple[list[str], str] | None:
    """(path, message) of why a component cannot be created, with the cure; None where it can."""
    try:
        _create(component)
    except registry.WrongKey as error:
        return [*component.path, error.key], key_message(component.path, error)
    except ValueError as error:
        return component.path, plug_ins.words_of(error)
    return None


def _create(component: NamedComponent) -> None:
    """Create a component, or only load it where more than its keys is needed.

    Raises:
        ValueError: it does not exist, or refuses a key.
    """
    family, name, options = component.family, component.name, component.options
    ours = registry.names("networks")
    if family == "networks" and name not in ours:
        # A hub id or a folder, which is looked for later; it takes no keys.
        if options:
            close = nearest(name, list(ours))
            meant = f", and `{close}` may be meant" if close else ""
            reason = (
                f"`{name}` is none of our networks ({', '.join(ours)}){meant}, and only these take "
                "keys"
            )
            raise registry.WrongKey(reason, next(iter(options)), [])
    elif options is None:
        registry.load(family, name)
    else:
        registry.create(family, name, options)


def _check_soft_losses(recipe: Recipe) -> None:
    """A loss on distributions over labels says nothing where the logits are none."""
    if not recipe.distill:
        return
    likelihood = registry.load("tasks", recipe.task).likelihood
    for name in recipe.distill.losses:
        if _is_for(likelihood, registry.load("losses", name)):
            continue
        fitting = [each for each in registry.usable("losses") if _compares(likelihood, each)]
        raise recipe.mistake(
            ["distill", "losses", name],
            f"`{name}` compares distributions over labels, and the logits of `{recipe.task}` "
            f"are none. Take {' or '.join(fitting)}",
        )


def _is_for(likelihood: str, loss: "Loss") -> bool:
    """Whether a loss understands logits of this likelihood, or does not compare logits alone."""
    return loss.reads != LOGITS_ALONE or likelihood in loss.likelihoods


def _compares(likelihood: str, name: str) -> bool:
    """Whether the loss of this name compares logits of this likelihood."""
    loss = registry.load("losses", name)
    return loss.reads == LOGITS_ALONE and likelihood in loss.likelihoods


def _check_rounding(recipe: Recipe, settings: Quantize) -> None:
    """A rounding may be made for some formats alone, or for trained models alone.

    Raises:
        ValueError: this one is not made for what the recipe asks.
    """
    from limbeck.quantization.roundings import LayerRounding, mismatch

    name = settings.rounding_name
    rounding = registry.create("roundings", name, settings.options)
    # Every format that weights take at some time, with the path of its key.
    formats: list[tuple[list[str], str]] = [(["weights"], settings.weights)]
    for pattern, scheme in settings.modules.items():
        formats.append((["modules", pattern, "weights"], scheme.weights))
    for earlier in settings.progressive:
        formats.append((["progressive"], earlier))
    for path, form in formats:
        problem = mismatch(rounding, form)
        if problem:
            raise recipe.mistake(["quantize", *path], f"`{name}` {problem}")
    if settings.when == "train" and isinstance(rounding, LayerRounding):
        raise recipe.mistake(
            ["quantize", "rounding"],
            f"`{name}` rounds whole layers after their training, and `when` is train. "
            "Say `when: after`, or leave it out",
        )


def _check_clip_weight(recipe: Recipe, settings: Quantize) -> None:
    """`clip_weight` acts on the bounds that one range learns, in training.

    Raises:
        ValueError: the recipe says it where nothing is learned.
    """
    if settings.clip_weight is None:
        return
    # After training the range may be open, and is not asked.
    if settings.when == "after" or not registry.load("ranges", settings.range_name).clipped_only:
        raise recipe.mistake(
            ["quantize", "clip_weight"],
            "it weighs the clipping bounds that `range: pact` learns in training, and there are "
            "none here. Leave it out",
        )
