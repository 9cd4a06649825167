"""A recipe from a YAML file or text, with overrides, and back; each mistake is told by file, line, column and key."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import (
    ValidationError,
)

from limbeck.core import wording
from limbeck.core.yaml12 import Yaml12Dumper, load
from limbeck.recipe.model import Origin, Recipe, _known_keys


def read(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """The recipe in the file `path` with `key.key=value` overrides. Raises ValueError with file, line, column and cure."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(
            f"{path}: no such recipe. `limbeck list` shows what a recipe can name; recipes/ holds examples"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as a recipe: {error}") from None
    return parse(text, origin=str(path), overrides=overrides)


def parse(text: str, *, origin: str = "recipe", overrides: list[str] | None = None) -> Recipe:
    """A recipe from YAML text; `origin` names it in messages. Raises ValueError."""
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
        raise ValueError(
            "\n".join(_explain(Origin(root), problem) for problem in error.errors()[:3])
        ) from None
    recipe._origin = Origin(root)
    return recipe


def write(recipe: Recipe, *, portable: bool = False) -> str:
    """The recipe as YAML, every default written out; `portable` keeps of an absolute path its last part, which tells nothing of this machine."""
    content = recipe.dump()
    named = (content[name] or {} for name in ("augment", "teacher", "assistant"))
    for stage in [content["data"], content["student"], *named, *content["teachers"]] * portable:
        stage |= {
            key: Path(value).name
            for key, value in stage.items()
            if isinstance(value, str) and value.startswith(("/", "~"))
        }
    return yaml.dump(content, Dumper=Yaml12Dumper, sort_keys=False, allow_unicode=True, width=120)


def _override(content: dict[str, Any], override: str) -> None:
    """Apply one `train.epochs=2` to the parsed recipe."""
    key, separator, value = override.partition("=")
    if not separator:
        raise ValueError(
            f"override `{override}`: write it as key.key=value, for example train.epochs=2"
        )
    *parents, last = key.split(".")
    place = content
    for parent in parents:
        child = place.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ValueError(f"override `{override}`: `{parent}` holds no keys")
        place = child
    place[last] = load(value, f"override `{override}`")[1]


def _explain(origin: Origin, problem: Any) -> str:
    """One validation problem as 'file:line:column: key: what, and the nearest valid name'."""
    path = [str(part) for part in problem["loc"]]
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = f"unknown key. {wording.suggest(path[-1], _known_keys(path[:-1]))}"
    elif problem["type"] == "too_short":
        message = "an empty list. Name one, or leave the key out"
    elif problem["type"] == "missing":
        message = "this key is required"
    elif "input" in problem and not isinstance(problem["input"], dict):
        message = f"{message}, not {problem['input']!r}"
    return origin.tell(path, message)
