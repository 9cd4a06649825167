"""A recipe from a YAML file or text, with overrides, and back to YAML.

Each mistake is told by file, line, column and key, with the nearest valid name.
"""

import difflib
import errno
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml
from pydantic import ValidationError

from limbeck.core import plug_ins, registry, wording
from limbeck.core.contract import require_argument
from limbeck.core.files import read_at_most, require_file_or_stream
from limbeck.core.yaml12 import Yaml12Dumper, load
from limbeck.recipe.components import STAGES, key_message, known_keys
from limbeck.recipe.model import Data, Recipe
from limbeck.recipe.origin import Origin, Override
from limbeck.recipe.validate import WrongArms

MOST_PROBLEMS = 3  # told at once: those after them are often consequences of the first
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

# What begins a list, keys or a quoted text in an override, and what YAML takes for a comment.
OPENING = ("[", "{", '"', "'")
COMMENT = re.compile(r"(^|\s)#")

MOST_BYTES = 1 << 20  # of a recipe's file

LINE_WIDTH = 120  # characters after which the writer of YAML breaks a line


def read(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """The recipe in the file `path`, with overrides such as "train.epochs=2".

    Raises ValueError that says where in the file the mistake is and how to mend it.
    """
    require_argument("path", path, (str, Path), "the path of a recipe")
    require_file_or_stream(path)
    try:
        with open(path, "rb") as file:
            text = read_at_most(file, MOST_BYTES, str(path)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: cannot be read as a recipe: {_why_no_text(error)}") from None
    except OSError as error:
        raise ValueError(f"{path}: {_why_unreadable(Path(path), error)}") from None
    return parse(text, origin=str(path), overrides=overrides)


def parse(text: str, *, origin: str = "recipe", overrides: list[str] | None = None) -> Recipe:
    """A recipe from YAML text; `origin` is the name of the text in messages. Raises ValueError.

    >>> text = "{task: masked-lm, data: {source: text, path: texts}, student: {model: small}}"
    >>> parse(text, overrides=["train.epochs=2"]).train.epochs
    2
    """
    require_argument("text", text, (str,), "a recipe as YAML text")
    if overrides is not None:
        told = 'a list such as ["train.epochs=2"]'
        require_argument("overrides", overrides, (list, tuple), told)
    root, content = load(text, origin)
    if not isinstance(content, dict):
        raise ValueError(
            f"{origin}: a recipe is a mapping of stages (task, data, teacher, student, ...)"
        )
    for override in overrides or []:
        _override(content, override)
    place = Origin(root, tuple(map(Override, overrides or [])))
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        problems = _of_the_kind_that_stands(error.errors())
        lines = [_explain(place, problem) for problem in problems[:MOST_PROBLEMS]]
        if len(problems) > MOST_PROBLEMS:
            lines[-1] += f" (and {len(problems) - MOST_PROBLEMS} more)"
        lines += _mistakes_of_the_data(place, content, problems)
        raise ValueError("\n".join(lines)) from None
    recipe._origin = place
    return recipe


def _why_unreadable(path: Path, error: OSError) -> str:
    """Why the system gave no text, and the cure."""
    if str(path) == "-":
        return (
            "no file of this name, and a recipe is not read from standard input. Write it to a "
            "file, or name /dev/stdin where the system has that"
        )
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        return (
            "no such recipe. `limbeck init DATA` writes one for data of yours; `limbeck list` "
            "shows what a recipe can name"
        )
    if path.is_dir():
        inside = sorted(path.glob("*.yaml"))
        example = inside[0] if inside else path / "recipe.yaml"
        return f"cannot be read as a recipe: it is a folder. Name a file, such as {example}"
    reason = os.strerror(error.errno) if error.errno else str(error)
    return f"cannot be read as a recipe: {reason}"


def _why_no_text(error: UnicodeDecodeError) -> str:
    """Where the bytes are no UTF-8, and the cure."""
    # Some editors of Windows save UTF-16, which begins with one of these two marks.
    if error.object.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "it is UTF-16. Save the file as UTF-8"
    line = error.object.count(b"\n", 0, error.start) + 1
    value = error.object[error.start : error.end]
    return f"line {line}: {value!r} is not UTF-8. Save the file as UTF-8"


def write(recipe: Recipe, *, portable: bool = False) -> str:
    """The recipe as YAML, every default written out; reading it gives the same recipe.

    `portable`: of an absolute path only the last part is kept, which tells nothing of this machine.
    """
    content = recipe.dump()
    if portable:
        for stage in _stages_with_paths(content):
            _shorten_paths(stage)
    # In the order of the models, which is that of the work.
    return yaml.dump(
        content, Dumper=Yaml12Dumper, sort_keys=False, allow_unicode=True, width=LINE_WIDTH
    )


def _stages_with_paths(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ("data", "augment", "teacher", "assistant", "student"):
        if content[name]:
            yield content[name]
    yield from content["teachers"]


def _shorten_paths(stage: dict[str, Any]) -> None:
    """Absolute paths, and those in a home folder, become their last part."""
    for key, value in stage.items():
        if isinstance(value, str):
            stage[key] = last_part(value)


def last_part(value: str) -> str:
    """The last part of an absolute path of any system; another word as it is."""
    if value.startswith(("/", "~")):
        return PurePosixPath(value).name
    # A path with a drive, or with a share of the network; a hub id is neither.
    windows_path = PureWindowsPath(value)
    return windows_path.name if windows_path.is_absolute() else value


def _override(content: dict[str, Any], override: str) -> None:
    """Apply one `train.epochs=2` to the parsed recipe. Raises ValueError."""
    key, separator, value = override.partition("=")
    if not separator:
        raise ValueError(
            f"override `{override}`: write it as key.key=value, for example train.epochs=2"
        )
    *parents, last = key.split(".")
    # Stages that are not there yet are made; pydantic refuses those that do not exist.
    keys = content
    for parent in parents:
        child = keys.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ValueError(f"override `{override}`: `{parent}` holds no keys")
        keys = child
    keys[last] = value if _is_plain(value) else load(value, f"override `{override}`")[1]


def _is_plain(value: str) -> bool:
    """Whether a value on a command line is the text that it is, and no YAML.

    YAML it is for numbers, lists and quotes (2e-5, [onnx]). But there are no comments on a command
    line, so that `#` and `#1 String` are no nothing, and signs alone (`|`, `-`, a space) are what
    stands between labels; to YAML they are a block, a list and nothing. `~` is nothing to both.
    """
    if value.startswith(OPENING) and len(value) > 1:
        return False
    has_words = any(character.isalnum() for character in value)
    return bool(COMMENT.search(value)) or not (has_words or value in ("", "~"))


def _of_the_kind_that_stands(problems: Sequence[Any]) -> list[Any]:
    """The problems without those of another kind of value: where keys stand, a word is no cure."""
    places = [[part for part in each["loc"] if not KIND.match(str(part))] for each in problems]
    kept = []
    for each, place in zip(problems, places, strict=True):
        is_deeper = any(other[: len(place)] == place and other != place for other in places)
        if not (is_deeper and str(each["loc"][-1]).startswith("literal[")):
            kept.append(each)
    return kept


def _explain(origin: Origin, problem: Any) -> str:
    """One of pydantic's problems as 'file:line:column: key: what, and the nearest valid name'."""
    # The kind of a value that pydantic tried (`dict[...]`) is no key.
    path = [str(part) for part in problem["loc"] if not KIND.match(str(part))]
    if isinstance(problem.get("ctx", {}).get("error"), WrongArms):
        path = ["verdict", "arms"]
    # Pydantic puts this before the message of a ValueError that one of our rules raised.
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in EXPECTED:
        message = f"Input should be {EXPECTED[problem['type']]}"
    if problem["type"] == "extra_forbidden":
        message = f"unknown key. {_nearest_keys(path)}"
    elif problem["type"] == "too_short":
        message = "an empty list. Name one, or leave the key out"
    elif problem["type"] == "missing":
        message = f"this key is required{_meant(path, problem['input'])}"
    elif "input" in problem and problem["input"] is None and ":" in path[-1]:
        key, _, value = path[-1].partition(":")
        message = f"this is one word to YAML. Put a space behind the colon: `{key}: {value}`"
    elif "input" in problem and problem["input"] is None:
        message = f"{message}, and nothing stands here. Fill it in, or leave the key out"
    elif "input" in problem and not isinstance(problem["input"], dict):
        message = f"{message}, not {problem['input']!r}"
    return origin.locate(path, message)


def _meant(path: Sequence[str], given: Any) -> str:
    """Which of the keys that stand beside a missing one was meant to be it; empty for none.

    A component's stage takes keys that only the component knows, so that one with a slip in it is
    no mistake by itself.
    """
    *stage, missing = path
    others = [key for key in given if isinstance(key, str) and key not in known_keys(stage)]
    close = difflib.get_close_matches(missing, others, n=1)
    return f". Did you mean `{missing}` by `{close[0]}`?" if close else ""


def _mistakes_of_the_data(origin: Origin, content: Any, problems: Sequence[Any]) -> list[str]:
    """What is wrong with the keys of `data`'s source, told where other stages are wrong too.

    Of a recipe whose stages are right, all components are asked.
    """
    wrong = {problem["loc"][0] if problem["loc"] else "" for problem in problems}
    # The empty place is the recipe's own: its stages are right one by one.
    if wrong & {"", "data"}:
        return []
    data = Data.model_validate(content["data"])
    try:
        registry.create("sources", data.source, data.options)
    except ModuleNotFoundError:  # a plug-in's, which the verb would tell that reads the data
        return []
    except registry.WrongKey as error:
        return [origin.locate(["data", error.key], key_message(["data"], error))]
    except ValueError as error:
        return [origin.locate(["data"], plug_ins.words_of(error))]
    return []


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
