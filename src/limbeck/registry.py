"""Components by name: the file name is the key.

A family is a package of `limbeck` (losses, ranges, sources, ...) with one file for each component. `soft_cross_entropy` in a recipe is
`losses/soft_cross_entropy.py`, whose one public class is `SoftCrossEntropy`; a dash in a name reads as an underscore. The arguments of the
constructor are the component's recipe keys. Outside plug-ins are entry points of the group `limbeck.<family>`; a recipe can never import code.
"""

import difflib
import importlib
import inspect
import pkgutil
from importlib.metadata import entry_points
from typing import Any

from pydantic import TypeAdapter, ValidationError

FAMILIES = ("sources", "tasks", "networks", "surgeries", "losses", "ranges", "exporters")


def names(family: str) -> list[str]:
    """Every component of `family`, sorted, as a recipe spells it."""
    package = importlib.import_module(f"limbeck.{family}")
    built_in = {module.name.replace("_", "-") if family == "tasks" else module.name for module in pkgutil.iter_modules(package.__path__)}
    return sorted(built_in | {point.name for point in entry_points(group=f"limbeck.{family}")})


def load(family: str, name: str) -> type:
    """The class behind `name`. Raises ValueError with the nearest names for an unknown one."""
    if name not in names(family):
        raise ValueError(f"{family} has no component `{name}`. {suggest(name, names(family))}")
    for point in entry_points(group=f"limbeck.{family}", name=name):
        return point.load()
    stem = name.replace("-", "_")
    module = importlib.import_module(f"limbeck.{family}.{stem}")
    return getattr(module, "".join(word.capitalize() for word in stem.split("_")))


def keys(family: str, name: str) -> dict[str, inspect.Parameter]:
    """The recipe keys of a component: its constructor's parameters by name."""
    parameters = inspect.signature(load(family, name)).parameters
    return {key: parameter for key, parameter in parameters.items() if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)}


def create(family: str, name: str, options: dict[str, Any] | None = None) -> Any:
    """A component from its recipe keys; every key and type is checked against the constructor.

    Raises ValueError naming the key, what it takes and the nearest valid name.
    """
    parameters = keys(family, name)
    checked = {}
    for key, value in (options or {}).items():
        if key not in parameters:
            raise ValueError(f"`{name}` ({family}) has no key `{key}`. {suggest(key, parameters)}")
        try:
            checked[key] = TypeAdapter(parameters[key].annotation).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise ValueError(f"`{key}` of `{name}` ({family}) is {value!r}: {reason}") from None
    missing = [key for key, parameter in parameters.items() if parameter.default is parameter.empty and key not in checked]
    if missing:
        raise ValueError(f"`{name}` ({family}) needs the key `{missing[0]}`. Its keys: {', '.join(parameters)}")
    return load(family, name)(**checked)


def suggest(word: str, choices: Any) -> str:
    """'Did you mean `kl`? Choices: ...' for an error message."""
    listed = [str(choice) for choice in choices]
    close = difflib.get_close_matches(word, listed, n=1)
    hint = f"Did you mean `{close[0]}`? " if close else ""
    return f"{hint}Choices: {', '.join(listed) or 'none'}"
