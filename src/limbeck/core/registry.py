"""Components by name: the file name is the key.

A family is a package of `limbeck` (losses, ranges, sources, ...) with one file for each component. `soft_cross_entropy` in a
recipe is `losses/soft_cross_entropy.py`, whose one public class is `SoftCrossEntropy`; a dash in a name reads as an underscore,
and a file that begins with one is private. The arguments of the constructor are the component's recipe keys. Outside plug-ins are
entry points of the group `limbeck.<family>`, under names that are not ours; a recipe can never import code.
"""

import importlib
import inspect
import re
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

import limbeck
from limbeck.core.wording import suggest

# Family -> its package below `limbeck`. Entry points of plug-ins name the family: `limbeck.losses`, `limbeck.ranges`.
FAMILIES = {
    "sources": "sources",
    "tasks": "tasks",
    "augmenters": "data.augmenters",
    "networks": "models.networks",
    "surgeries": "surgeries",
    "losses": "losses",
    "ranges": "quantization.ranges",
    "roundings": "quantization.roundings",
    "equalizers": "quantization.equalizers",
    "sensitivities": "analysis.sensitivities",
    "exporters": "exporters",
}


class WrongKey(ValueError):
    """A recipe key that a component does not take, or whose value it refuses; `choices`: its keys, where `key` is none of them."""

    def __init__(self, reason: str, key: str, choices: Iterable[str] | None = None) -> None:
        super().__init__(reason if choices is None else f"{reason}. {suggest(key, choices)}")
        self.reason, self.key, self.choices = reason, key, choices


def names(family: str) -> list[str]:
    """Every component of `family`, sorted, as a recipe spells it."""
    return sorted(
        _modules(family).keys() | {point.name for point in entry_points(group=f"limbeck.{family}")}
    )


def load(family: str, name: str) -> Any:
    """The class behind `name`. Raises ValueError with the nearest names for an unknown one, and where two packages offer it."""
    points = entry_points(group=f"limbeck.{family}", name=name)
    ours = [module for own, module in _modules(family).items() if own == name]
    offers = ours + [point.value for point in points]
    if not offers:
        raise ValueError(f"{family} has no component `{name}`. {suggest(name, names(family))}")
    if len(offers) > 1:
        raise ValueError(
            f"{family} has more than one component `{name}`: {' and '.join(offers)}. Uninstall all but one"
        )
    if points:
        return points[name].load()
    return getattr(importlib.import_module(ours[0]), class_name(name))


def _modules(family: str) -> dict[str, str]:
    """Our own components of `family`: name to module."""
    home = FAMILIES.get(family, family)
    stems = [
        file.stem
        for folder in folders(family)
        for file in sorted(folder.glob("*.py"))
        if is_component(file)
    ]
    return {
        stem.replace("_", "-") if family == "tasks" else stem: f"limbeck.{home}.{stem}"
        for stem in stems
    }


def folders(family: str) -> list[Path]:
    """Where the files of `family` lie. The package is not imported for this: losses would import torch."""
    home = FAMILIES.get(family, family)
    package = sys.modules.get(f"limbeck.{home}")
    return (
        list(map(Path, package.__path__))
        if package
        else [Path(root, *home.split(".")) for root in limbeck.__path__]
    )


def is_component(file: Path) -> bool:
    """Whether a file of a family's folder holds a component: a class named as the file is. What a family shares has other names."""
    return (
        not file.name.startswith("_")
        and re.search(rf"^class {class_name(file.stem)}\b", file.read_text(encoding="utf-8"), re.M)
        is not None
    )


def class_name(name: str) -> str:
    """`soft_cross_entropy` to `SoftCrossEntropy`."""
    return "".join(word.capitalize() for word in re.split("[-_]", name))


def keys(family: str, name: str) -> dict[str, inspect.Parameter]:
    """The recipe keys of a component: its constructor's parameters by name."""
    parameters = inspect.signature(load(family, name)).parameters
    return {
        key: parameter
        for key, parameter in parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }


def create(family: str, name: str, options: dict[str, Any] | None = None) -> Any:
    """A component from its recipe keys; every key and type is checked against the constructor.

    Raises ValueError, WrongKey where one key is to blame, naming the key, what it takes and the nearest valid name.
    """
    parameters = keys(family, name)
    checked = {}
    for key, value in (options or {}).items():
        if key not in parameters:
            raise WrongKey(f"`{name}` ({family}) has no key `{key}`", key, parameters)
        try:  # strict on true and false only, which are else taken for 1 and 0
            adapter = TypeAdapter(
                parameters[key].annotation, config=ConfigDict(allow_inf_nan=False)
            )
            checked[key] = adapter.validate_python(value, strict=isinstance(value, bool))
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise WrongKey(f"`{key}` of `{name}` ({family}) is {value!r}: {reason}", key) from None
    missing = [
        key
        for key, parameter in parameters.items()
        if parameter.default is parameter.empty and key not in checked
    ]
    if missing:
        raise ValueError(
            f"`{name}` ({family}) needs the key `{missing[0]}`. Its keys: {', '.join(parameters)}"
        )
    return load(family, name)(**checked)
