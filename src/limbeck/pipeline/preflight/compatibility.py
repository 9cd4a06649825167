"""Whether what a recipe names exists and fits together: the components are asked, before any work.

A recipe alone is checked for shape and names (`recipe.model`, `recipe.validate`). Here every
component is created once from its keys, and what only components know is compared: the formats that
a rounding is made for, whether a range learns a clipping bound, what a loss reads.
"""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from limbeck.core import registry
from limbeck.core.wording import nearest
from limbeck.recipe import validate
from limbeck.recipe.components import NamedComponent, mistakes_of, named_components
from limbeck.recipe.draft import Draft
from limbeck.recipe.learning_rates import with_rates
from limbeck.recipe.model import GENERATION, Quantize, Recipe
from limbeck.recipe.problems import Mistake
from limbeck.recipe.trackers import missing_trackers

# This file is imported where torch is not installed, by `limbeck check --data-only`.
if TYPE_CHECKING:
    from limbeck.losses import Loss

# What a loss reads that compares answers and nothing inside the models.
LOGITS_ALONE = ("logits",)


def check_components(recipe: Recipe) -> None:
    """Refuse a recipe whose components do not exist, do not take their keys or do not fit together.

    Raises:
        WrongRecipe: all mistakes, each with file, line, column, key and cure.
    """
    # Each by itself first: what does not exist cannot be asked what it fits.
    components = named_components(recipe)
    mistakes = [mistake for each in components for mistake in mistakes_of(each, create)]
    if not mistakes:
        recipe.refuse(mismatches(recipe))
        return
    # All at once, also what does not fit together beside them.
    draft = Draft.of(recipe)
    draft.ask_components(create)
    ask_mismatches(draft)
    raise draft.error


def ask_mismatches(draft: Draft) -> None:
    """Note what does not fit together, of a recipe whose components are there.

    Where torch is not installed, only what can be asked without.
    """
    if not draft.is_known("task"):
        return
    recipe = draft.recipe
    if not draft.is_known("quantize"):
        recipe = recipe.model_copy(update={"quantize": None})
    found = mismatches(recipe)
    # One by one: what was found before torch is asked for is told where it is missing.
    while True:
        try:
            mistake = next(found, None)
        except ModuleNotFoundError:
            return
        if mistake is None:
            return
        if mistake.path[0] == "task":
            # What the task itself names wrongly nothing else can be asked of.
            draft.take([mistake])
            return
        draft.note([mistake])


def mismatches(recipe: Recipe) -> Iterator[Mistake]:
    """Components, tasks and settings that do not fit together, where all of them are there.

    Raises ModuleNotFoundError where a package is missing that one of them needs.
    """
    of_task = list(validate.mistakes_of_task(recipe))
    yield from of_task
    # Of a task that itself names wrongly nothing else can be asked.
    if any(mistake.path[0] == "task" for mistake in of_task):
        return
    yield from missing_trackers(recipe.report_to)
    yield from validate.mistakes_of_formats(recipe)
    yield from validate.mistakes_of_rewrites(recipe)
    # Those last that ask components, some of which need torch.
    yield from _wrong_losses(recipe)
    if recipe.quantize:
        yield from _wrong_rounding(recipe.quantize)
        yield from _wrong_clip_weight(recipe.quantize)
        yield from _wrong_exporters(recipe)


def _wrong_exporters(recipe: Recipe) -> Iterator[Mistake]:
    """Exporters that are made for other tasks, or for another cache."""
    from limbeck.exporters.requirements import why_other_kv_cache, why_other_task

    assert recipe.quantize is not None
    for number, name in enumerate(recipe.export):
        reason = why_other_task(name, recipe.task)
        # Elsewhere the key itself is the mistake.
        if reason is None and recipe.task == GENERATION:
            reason = why_other_kv_cache(name, recipe.quantize.kv_cache)
        if reason:
            yield Mistake(["export", str(number)], reason.removeprefix("export: "))


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

    mistakes = []
    for path, name in named_models(recipe):
        if name in own:
            continue
        try:
            require(name)
        except ValueError as error:
            mistakes.append(Mistake(path, str(error)))
    recipe.refuse(mistakes)


def create(component: NamedComponent) -> None:
    """Create a component, or only load it where more than its keys is needed.

    Raises ValueError: it does not exist, or refuses a key.
    """
    family, name, options = (
        component.family,
        component.name,
        component.options,
    )
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


def _wrong_losses(recipe: Recipe) -> Iterator[Mistake]:
    """A loss on distributions over labels says nothing where the logits are none."""
    if not recipe.distill:
        return
    likelihood = registry.load("tasks", recipe.task).likelihood
    for name in recipe.distill.losses:
        if _is_for(likelihood, registry.load("losses", name)):
            continue
        fitting = [each for each in registry.usable("losses") if _compares(likelihood, each)]
        yield Mistake(
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


def _wrong_rounding(settings: Quantize) -> Iterator[Mistake]:
    """Where a rounding is not made for the formats that the recipe asks, or for training."""
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
            yield Mistake(["quantize", *path], f"`{name}` {problem}")
    if settings.when == "train" and isinstance(rounding, LayerRounding):
        yield Mistake(
            ["quantize", "rounding"],
            f"`{name}` rounds whole layers after their training, and `when` is train. "
            "Say `when: after`, or leave it out",
        )


def _wrong_clip_weight(settings: Quantize) -> Iterator[Mistake]:
    """`clip_weight` acts on the bounds that one range learns, in training: where nothing is."""
    if settings.clip_weight is None:
        return
    # After training the range may be open, and is not asked.
    if settings.when == "after" or not registry.load("ranges", settings.range_name).clipped_only:
        yield Mistake(
            ["quantize", "clip_weight"],
            "it weighs the clipping bounds that `range: pact` learns in training, and there are "
            "none here. Leave it out",
        )
