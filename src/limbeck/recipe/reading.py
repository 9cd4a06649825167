"""A recipe from a YAML file or text, with overrides, and back to YAML.

Each mistake is told by file, line, column and key, with the nearest valid name.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml
from pydantic import ValidationError

from limbeck.core import wording
from limbeck.core.yaml12 import Yaml12Dumper, load
from limbeck.recipe.components import known_keys
from limbeck.recipe.model import Recipe
from limbeck.recipe.origin import Origin

MOST_PROBLEMS = 3  # told at once: those after them are often consequences of the first
LINE_WIDTH = 120  # characters after which the writer of YAML breaks a line


def read(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """The recipe in the file `path`, with overrides such as "train.epochs=2".

    Raises ValueError that says where in the file the mistake is and how to mend it.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(
            f"{path}: no such recipe. `limbeck list` shows what a recipe can name; "
            "recipes/ holds examples"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as a recipe: {error}") from None
    return parse(text, origin=str(path), overrides=overrides)


def parse(text: str, *, origin: str = "recipe", overrides: list[str] | None = None) -> Recipe:
    """A recipe from YAML text; `origin` is the name of the text in messages. Raises ValueError.

    >>> text = "{task: masked-lm, data: {source: text, path: texts}, student: {model: small}}"
    >>> parse(text, overrides=["train.epochs=2"]).train.epochs
    2
    """
    root, content = load(text, origin)
    if not isinstance(content, dict):
        raise ValueError(
            f"{origin}: a recipe is a mapping of stages (task, data, teacher, student, ...)"
        )
    for override in overrides or []:
        _override(content, override)
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        problems = error.errors()[:MOST_PROBLEMS]
        lines = [_explain(Origin(root), problem) for problem in problems]
        raise ValueError("\n".join(lines)) from None
    recipe._origin = Origin(root)
    return recipe


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
            stage[key] = _last_part(value)


def _last_part(value: str) -> str:
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
    # The value is YAML too: 2e-5 is a number, [onnx] a list.
    _, keys[last] = load(value, f"override `{override}`")


def _explain(origin: Origin, problem: Any) -> str:
    """One of pydantic's problems as 'file:line:column: key: what, and the nearest valid name'."""
    path = [str(part) for part in problem["loc"]]
    # Pydantic puts this before the message of a ValueError that one of our rules raised.
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = f"unknown key. {wording.suggest(path[-1], known_keys(path[:-1]))}"
    elif problem["type"] == "too_short":
        message = "an empty list. Name one, or leave the key out"
    elif problem["type"] == "missing":
        message = "this key is required"
    elif "input" in problem and not isinstance(problem["input"], dict):
        message = f"{message}, not {problem['input']!r}"
    return origin.locate(path, message)
