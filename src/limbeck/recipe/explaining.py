"""What pydantic says of a recipe, in the words of YAML and of this project: the key, what is wrong
with it, and the nearest valid name."""

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from limbeck.core import wording
from limbeck.recipe import cures
from limbeck.recipe.components import STAGES, known_keys
from limbeck.recipe.problems import Fix, Mistake, WrongStages, parent_of

# Where a key that stands outside of every stage may belong, the likeliest first. `teachers` and
# `assistant` have the keys of `teacher` and `student`.
STAGES_OF_A_KEY = (
    "train",
    "data",
    "teacher",
    "student",
    "distill",
    "quantize",
    "verdict",
    "augment",
)

# What pydantic's kinds of mistake ask for, in the words of YAML instead of Python's.
EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "a word",
    "list_type": "a list, such as [a, b]",
    "dict_type": "keys with values, such as {key: value}",
    "model_type": "keys with values, such as {key: value}",
    "model_attributes_type": "keys with values, such as {key: value}",
}

# How pydantic names one of several kinds that a value may be, in the place of a mistake.
KIND = re.compile(r"(literal|dict|list)\[.*\]$")


def explained(error: ValidationError, content: Any) -> Iterator[Mistake]:
    """Each of the mistakes that pydantic found in plain data."""
    for problem in _of_the_kind_that_stands(error.errors()):
        raised = problem.get("ctx", {}).get("error")
        # The kind of a value that pydantic tried (`dict[...]`) is no key.
        path = [str(part) for part in problem["loc"] if not KIND.match(str(part))]
        if isinstance(raised, WrongStages):
            for mistake in raised.mistakes:
                yield mistake.below(path)
        else:
            message, fix = _explain(path, problem, content)
            is_unknown = problem["type"] == "extra_forbidden"
            yield Mistake(path, message, fix, is_unknown)


def _of_the_kind_that_stands(problems: Sequence[Any]) -> list[Any]:
    """The problems without those of another kind of value: where keys stand, a word is no cure."""
    places = [[part for part in each["loc"] if not KIND.match(str(part))] for each in problems]
    kept = []
    for each, place in zip(problems, places, strict=True):
        is_deeper = any(other[: len(place)] == place and other != place for other in places)
        if not (is_deeper and str(each["loc"][-1]).startswith("literal[")):
            kept.append(each)
    return kept


def _explain(path: list[str], problem: Any, content: Any) -> tuple[str, Fix | None]:
    """What one of pydantic's problems says, with the nearest valid name, and its fix."""
    # Pydantic puts this before the message of a ValueError that one of our rules raised.
    message = problem["msg"].removeprefix("Value error, ")
    given = problem.get("input")
    if problem["type"] in EXPECTED:
        message = f"Input should be {EXPECTED[problem['type']]}"
    if problem["type"] == "extra_forbidden":
        return f"unknown key. {_nearest_keys(path)}", _renamed(path, content)
    if problem["type"] == "too_short":
        return "an empty list. Name one, or leave the key out", None
    if problem["type"] == "missing":
        return _missing(path, given)
    if "input" in problem and given is None and ":" in path[-1]:
        key, _, value = path[-1].partition(":")
        cure = f"Put a space behind the colon: `{key}: {value}`"
        return f"this is one word to YAML. {cure}", None
    if "input" in problem and given is None:
        return (
            f"{message}, and nothing stands here. Fill it in, or leave the key out",
            None,
        )
    if "input" in problem and not isinstance(given, dict):
        fix = cures.replaced(path, given, message)
        hint = f". Write {fix.value}" if fix else ""
        return f"{message}, not {given!r}{hint}", fix
    return message, None


def _missing(path: Sequence[str], given: Any) -> tuple[str, Fix | None]:
    """That a key is missing, and which of those that stand beside it was meant to be it.

    A component's stage takes keys that only the component knows, so that one with a slip in it is
    no mistake by itself.
    """
    told = "this key is required"
    *stage, missing = path
    others = [key for key in given if isinstance(key, str) and key not in known_keys(stage)]
    close = difflib.get_close_matches(missing, others, n=1)
    if not close:
        return told, None
    is_certain = len(others) == 1 and wording.certain(close[0], [missing])
    fix = Fix((*stage, close[0]), name=missing) if is_certain else None
    return f"{told}. Did you mean `{missing}` by `{close[0]}`?", fix


def _renamed(path: Sequence[str], content: Any) -> Fix | None:
    """The fix of an unknown key of ours; None where it is not certain."""
    stage = path[:-1]
    elsewhere = {key for name in STAGES_OF_A_KEY for key in known_keys([name])}
    beside = list(parent_of(content, path) or [])
    return cures.rename(path, known_keys(stage), beside=beside, elsewhere=elsewhere)


def _nearest_keys(path: Sequence[str]) -> str:
    """What an unknown key may have been meant to be, and the keys that there are."""
    stage, key = path[:-1], path[-1]
    choices = known_keys(stage)
    if stage:
        return wording.suggest(key, choices)
    # 1. `train.epochs: 2` in a file, as a command line has it.
    name, _, rest = key.partition(".")
    if rest and name in STAGES:
        return f"A file says `{name}: {{{rest}: ...}}`"
    # 2. The key of a stage, written without it.
    stages = [name for name in STAGES_OF_A_KEY if key in known_keys([name])]
    if not stages:
        return wording.suggest(key, choices)
    meant = " or ".join(f"`{name}.{key}`" for name in stages)
    return f"Did you mean {meant}? Choices: {', '.join(choices)}"
