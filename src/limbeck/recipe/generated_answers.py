"""What goes with models that write answers alone (`sequence_level`, `on_policy`, `kv_cache`), and
what does not go with them or their answers."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from limbeck.recipe.problems import Fix, Mistake

if TYPE_CHECKING:  # the models call this module, through `validate`
    from limbeck.recipe.model import Distill, Recipe

KEYS = ("sequence_level", "on_policy")


def mistakes_of_writing(recipe: "Recipe") -> Iterator[Mistake]:
    """What a model that writes cannot have: its graph reads keys and values from a cache, by an
    operator that multiplies floats."""
    if recipe.quantize and recipe.quantize.attention != "float":
        yield Mistake(
            ["quantize", "attention"],
            f"the graph of `{recipe.task}` has no place for products of attention in integers: "
            "they would be trained, and not written. Leave `attention` out; `kv_cache: int8` "
            "keeps keys and values of earlier tokens in integers",
            Fix(("quantize", "attention"), value="float"),
        )


def mistakes_of_task(recipe: "Recipe") -> Iterator[Mistake]:
    """Answers that models write, asked of a task in which nobody writes."""
    if recipe.quantize and recipe.quantize.kv_cache != "float":
        yield Mistake(
            ["quantize", "kv_cache"],
            f"a model of `{recipe.task}` reads each input at once, and keeps no keys and values of "
            "earlier tokens. Leave `kv_cache` out, or take `task: text-generation`",
            Fix(("quantize", "kv_cache"), value="float"),
        )
    if recipe.distill is None:
        return
    for key in KEYS:
        if getattr(recipe.distill, key):
            yield Mistake(
                ["distill", key],
                f"`{recipe.task}` answers with labels or numbers, and `{key}` is about answers "
                "that a model writes. Leave it out, or take `task: text-generation`",
            )


def mistakes_of_stages(recipe: "Recipe") -> Iterator[Mistake]:
    """Stages of the recipe that such answers do not go with."""
    distill = recipe.distill
    if distill is None:
        return
    if distill.on_policy:
        yield from _mistakes_of_on_policy(distill)
    is_sharded = recipe.teacher is not None and recipe.teacher.placement == "sharded"
    if is_sharded and distill.sequence_level:
        yield Mistake(
            ["distill", "sequence_level"],
            "one process writes the teacher's answers, and `teacher.placement: sharded` splits the "
            "teacher over several. Leave one of the two out",
        )


def _mistakes_of_on_policy(distill: "Distill") -> Iterator[Mistake]:
    """What does not go with answers that no cache can hold: they are new in every step."""
    kept = {"top_k": distill.top_k is not None, "cache": distill.cache == "int8"}
    for key, is_given in kept.items():
        if is_given:
            yield Mistake(
                ["distill", key],
                f"`{key}` says how a cache keeps the teacher's answers. With `on_policy` there is "
                "none: the student writes other texts in every step, and the teacher answers them "
                "live. Leave one of the two out",
            )
    if not distill.losses:
        yield Mistake(
            ["distill", "on_policy"],
            "what the student writes has no labels, so that only losses that read the teacher "
            "learn from it, and `losses` names none. Add `losses: {jensen_shannon: {}}`",
        )
    if "mutual" in distill.losses:
        yield Mistake(
            ["distill", "losses", "mutual"],
            "a teacher that learns along learns from labels, and what the student writes has none. "
            "Leave `on_policy` out, or take another loss",
        )
