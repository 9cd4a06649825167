"""Whether what a recipe names exists and fits together: the components are asked, before any work.

A recipe alone is checked for shape and names (`recipe.model`, `recipe.validate`). Here every
component is created once from its keys, and what only components know is compared: the formats that
a rounding is made for, whether a range learns a clipping bound, what a loss reads.
"""

from typing import Any

from limbeck.core import registry
from limbeck.quantization.roundings import LayerRounding, mismatch
from limbeck.recipe import validate
from limbeck.recipe.components import NamedComponent, known_keys, named_components
from limbeck.recipe.model import Quantize, Recipe
from limbeck.tasks.likelihood import LIKELIHOODS


def check_components(recipe: Recipe) -> None:
    """Refuse a recipe whose components do not exist, take their keys or fit together.

    Raises ValueError with file, line, column, key and cure.
    """
    for component in named_components(recipe):
        _check_component(recipe, component)
    validate.check_task(recipe)
    _check_soft_losses(recipe)
    if recipe.quantize:
        _check_rounding(recipe, recipe.quantize)
        _check_clip_weight(recipe, recipe.quantize)
        validate.check_formats(recipe)
        validate.check_rewrites(recipe)


def resolved(recipe: Recipe) -> Recipe:
    """The recipe with every default of its components written out, after `check_components`.

    Resolving a resolved recipe changes nothing. Raises ValueError.
    """
    check_components(recipe)
    content = recipe.dump()
    if content["verdict"]:
        content["verdict"]["metric"] = recipe.judged_metric
    for component in named_components(recipe):
        # A component without options is made from more than its keys; a model that is none of our
        # networks has none.
        if component.options is None or component.name not in registry.names(component.family):
            continue
        keys = _keys_at(content, component.path)
        for key, parameter in registry.keys(component.family, component.name).items():
            if parameter.default is not parameter.empty:
                keys.setdefault(key, parameter.default)
        if component.family == "losses":
            keys.setdefault("weight", 1.0)
    return Recipe.model_validate(content)


def _keys_at(content: Any, path: list[str]) -> dict[str, Any]:
    """The keys that stand at `path` in a recipe's plain data, to be changed in place."""
    for part in path:
        content = content[int(part)] if isinstance(content, list) else content[part]
    return content


def _check_component(recipe: Recipe, component: NamedComponent) -> None:
    """Create a component, and tell its complaint at its place."""
    try:
        _create(component)
    except registry.WrongKey as error:
        message = str(error)
        if error.choices is not None:
            # Our own keys stand beside the component's: what was meant may be one of them.
            choices = [*known_keys(component.path), *error.choices]
            message = str(registry.WrongKey(error.reason, error.key, choices))
        raise recipe.mistake([*component.path, error.key], message) from None
    except ValueError as error:
        raise recipe.mistake(component.path, str(error)) from None


def _create(component: NamedComponent) -> None:
    """Create a component, or only load it where more than its keys is needed. Raises ValueError."""
    family, name, options = component.family, component.name, component.options
    ours = registry.names("networks")
    if family == "networks" and name not in ours:
        # A hub id or a folder, which is looked for later; it takes no keys.
        if options:
            reason = (
                f"`{name}` is none of our networks ({', '.join(ours)}), and only these take keys"
            )
            raise registry.WrongKey(reason, next(iter(options)), [])
    elif options is None:
        registry.load(family, name)
    else:
        registry.create(family, name, options)


def _check_soft_losses(recipe: Recipe) -> None:
    """A loss on distributions over labels says nothing where the logits are none."""
    task = registry.load("tasks", recipe.task)
    fitting = LIKELIHOODS[task.likelihood].soft_losses
    if not fitting or not recipe.distill:
        return
    for name in recipe.distill.losses:
        reads_logits_alone = registry.load("losses", name).reads == ("logits",)
        if reads_logits_alone and name not in fitting:
            raise recipe.mistake(
                ["distill", "losses", name],
                f"`{name}` compares distributions over labels, and the logits of `{recipe.task}` "
                f"are none. Take {' or '.join(fitting)}",
            )


def _check_rounding(recipe: Recipe, settings: Quantize) -> None:
    """A rounding may be made for some formats alone, or for trained models alone."""
    name = settings.rounding_name
    rounding = registry.create("roundings", name, settings.options)
    formats = [(["weights"], settings.weights)]
    formats += [
        (["modules", key, "weights"], each.weights) for key, each in settings.modules.items()
    ]
    formats += [(["progressive"], form) for form in settings.progressive]
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
    """`clip_weight` acts on the bounds that one range learns, in training."""
    if settings.clip_weight is None:
        return
    if settings.when == "after" or not registry.load("ranges", settings.range_name).clipped_only:
        raise recipe.mistake(
            ["quantize", "clip_weight"],
            "it weighs the clipping bounds that `range: pact` learns in training, and there are "
            "none here. Leave it out",
        )
