"""Components by name: the file name is the key.

A family is a package of `limbeck` (losses, ranges, sources, ...) with one file for each component.
`soft_cross_entropy` in a recipe is `losses/soft_cross_entropy.py`, whose one public class is
`SoftCrossEntropy`; the arguments of its constructor are the component's recipe keys. A file that
begins with an underscore holds what components share. The names of tasks have dashes where their
files have underscores (`token-classification`).

Plug-ins of other packages are entry points of the group `limbeck.<family>`, under names that are
not ours, spelt as a recipe spells them; what they name is what the file would hold. A recipe can
never import code; Python code may register more for its own process (`registered`). `docs/examples`
has one of five families, and `tests/test_examples.py` tries each both ways: as a file of ours, and
as a plug-in.

A module may ask for a component of its own room or of a room below it; `tests/test_registry.py`
keeps that, since import-linter does not see what is loaded by name.
"""

import importlib
import inspect
import re
import reprlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError, to_jsonable_python

import limbeck
from limbeck.core import contract, key_values, plug_ins, registered
from limbeck.core.wording import class_name, suggest

# Family -> its package below `limbeck`. The entry points of plug-ins name the family:
# `limbeck.losses`, `limbeck.ranges`.
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
    "runtimes": "artifact.runtimes",
}

# Family -> the Protocols of its package; a component keeps one of them.
CONTRACTS = {
    "sources": ("Source",),
    "tasks": ("Task",),
    "augmenters": ("Augmenter",),
    "networks": ("Network", "TextNetwork"),
    "surgeries": ("Surgery",),
    "losses": ("Loss",),
    "ranges": ("Range",),
    "roundings": ("Rounding", "LayerRounding"),
    "equalizers": ("Equalizer",),
    "sensitivities": ("Sensitivity",),
    "exporters": ("Exporter",),
    "runtimes": ("Runtime",),
}

# Family -> Protocols that a component may keep beside that: whole where it has all of the names.
ADDITIONS = {
    "tasks": ("OverVocabulary", "SelfSupervised"),
    "roundings": ("Limited", "ScaledRounding"),
    "equalizers": ("Correction",),
}

# (Family, class) -> what a recipe calls it, of every component that was loaded; for messages.
_called: dict[tuple[str, type], str] = {}

# Keys that a recipe writes beside a component's own, in the same map.
TAKEN = {"losses": ("weight",)}


class WrongKey(ValueError):
    """A recipe key that a component does not take, or whose value it refuses.

    `choices`: the component's keys, where `key` is none of them.
    """

    def __init__(self, reason: str, key: str, choices: Iterable[str] | None = None) -> None:
        super().__init__(reason if choices is None else f"{reason}. {suggest(key, choices)}")
        # Kept beside the text: who knows of more keys can suggest among all of them.
        self.reason = reason
        self.key = key
        self.choices = choices


def names(family: str) -> list[str]:
    """Every component of `family`, sorted, as a recipe spells it."""
    # Entry points are metadata of installed packages: reading them imports nothing.
    of_others = {_spelt(family, point.name) for point in plug_ins.offered(family)}
    return sorted({*of_others, *_modules(family), *registered.names(family)})


def usable(family: str) -> list[str]:
    """The names of the components that load: one that nobody names may be broken."""
    found = []
    for name in names(family):
        try:
            load(family, name)
        except (ModuleNotFoundError, ValueError):
            continue
        found.append(name)
    return found


def load(family: str, name: str) -> Any:
    """The class behind `name`.

    Raises ValueError for an unknown name, with the nearest ones; where two packages offer it; where
    a plug-in cannot be imported; and where the class lacks what its family asks for.
    """
    # It has none of the names below: that is refused where it is registered.
    from_python = registered.find(family, name)
    if from_python:
        _check_contract(family, name, from_python.component)
        _called[family, from_python.component] = name
        return from_python.component
    points = [point for point in plug_ins.offered(family) if _spelt(family, point.name) == name]
    module = _module(family, name)
    offers = [f"limbeck's own {module}"] if module else []
    offers += [f"{point.value} of {plug_ins.package_of(point)}" for point in points]
    if not offers:
        raise ValueError(_why_unknown(family, name))
    if len(offers) > 1:
        raise ValueError(
            f"{family} has more than one component `{name}`: {'; '.join(offers)}. "
            f"Leave one: `pip uninstall {plug_ins.package_of(points[-1])}`, or name its entry "
            "point otherwise"
        )
    if module:
        component = getattr(importlib.import_module(module), class_name(name))
    else:
        (point,) = points
        component = plug_ins.load(family, point)
    _check_contract(family, name, component)
    _called[family, component] = name
    return component


def name_of(family: str, component: type) -> str:
    """What a recipe calls a class that was loaded; its own name where it was not."""
    return _called.get((family, component), component.__name__)


def is_ours(component: object) -> bool:
    """Whether the class of a component is limbeck's own, and not somebody else's."""
    return type(component).__module__.partition(".")[0] == "limbeck"


def method_of(family: str, name: str, method: str) -> Any:
    """A method of a component that was loaded, for the place of its code (`contract.place`); None
    where none of the name was."""
    for (kind, component), called in reversed(_called.items()):
        if (kind, called) == (family, name):
            # torch's `__call__` is not what somebody wrote.
            written = getattr(component, "forward", None) if method == "__call__" else None
            return written or getattr(component, method, None)
    return None


@cache
def _check_contract(family: str, name: str, component: type) -> None:
    """Raise ValueError where a class lacks what its family asks for."""
    names_of_contracts = CONTRACTS.get(family)
    if not names_of_contracts:
        return
    package = importlib.import_module(f"limbeck.{FAMILIES[family]}")
    contracts = [getattr(package, each) for each in names_of_contracts]
    missing = [contract.lacks(component, each) for each in contracts]
    lacking = missing[0] if all(missing) else []
    additions = [getattr(package, each) for each in ADDITIONS.get(family, ())]
    for each in additions:
        if contract.offers(component, each):
            lacking = lacking + contract.lacks(component, each)
    if lacking:
        what = f"{component.__module__}.{component.__qualname__}"
        raise ValueError(
            f"{family}: `{name}` ({what}) is not complete: {'; '.join(lacking)}. "
            f"`{package.__name__}.{names_of_contracts[0]}` says what each is"
        )


def create(family: str, name: str, options: Mapping[str, Any] | None = None) -> Any:
    """A component from its recipe keys; every key and its type are checked.

    Raises ValueError for a key that is missing, and WrongKey for one that the component does not
    take, with the nearest valid name, or whose value it refuses.
    """
    parameters = keys(family, name)
    checked = {}
    for key, value in (options or {}).items():
        if key not in parameters:
            raise WrongKey(f"`{name}` ({family}) has no key `{key}`", key, parameters)
        try:
            # Converts what YAML lacks too: a list to a tuple, a whole number to a float.
            checked[key] = key_values.checked(value, parameters[key].annotation)
        except ValueError as error:
            shown = reprlib.repr(value)  # it may go on for pages
            raise WrongKey(f"`{key}` of `{name}` ({family}) is {shown}: {error}", key) from None
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in checked:
            raise ValueError(
                f"`{name}` ({family}) needs the key `{key}`. Its keys: {', '.join(parameters)}"
            )
    return load(family, name)(**checked)


def keys(family: str, name: str) -> dict[str, inspect.Parameter]:
    """The recipe keys of a component: its constructor's parameters by name.

    Raises ValueError for a component that cannot be loaded, and for a parameter that can be no key.
    """
    return dict(_keys_of(family, name, load(family, name)))


@cache
def _keys_of(family: str, name: str, component: type) -> Mapping[str, inspect.Parameter]:
    """As `keys`; a class is looked at once. Pydantic takes half a millisecond for its types."""
    try:
        parameters = inspect.signature(component, eval_str=True).parameters
    # Annotations of others, which may be any text.
    except (AttributeError, NameError, SyntaxError, TypeError) as error:
        raise ValueError(
            f"`{name}` ({family}): the types of its keys cannot be read: "
            f"{type(error).__name__}: {error}"
        ) from error
    # `*args, **kwargs` is what a class without a constructor of its own shows.
    catch_all = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = {key: each for key, each in parameters.items() if each.kind not in catch_all}
    # In its signature a dataclass shows a factory by an object that stands for any.
    for field in fields(component) if is_dataclass(component) else ():
        if field.name in found and field.default_factory is not MISSING:
            default = field.default_factory()
            found[field.name] = found[field.name].replace(default=default)
    for key, parameter in found.items():
        _check_parameter(family, name, parameter)
        if key in TAKEN.get(family, ()):
            raise ValueError(
                f"`{name}` ({family}): the key `{key}` is taken: a recipe writes it beside the "
                f"keys of every one of {family}. Call the argument otherwise"
            )
    return found


def _check_parameter(family: str, name: str, parameter: inspect.Parameter) -> None:
    """Raise ValueError for a constructor's parameter whose type pydantic cannot check."""
    try:
        if parameter.annotation is parameter.empty:
            raise PydanticUserError("it has none", code=None)
        key_values.adapter(parameter.annotation)
    except PydanticUserError as error:
        told = str(error).splitlines()[0]
        raise ValueError(
            f"`{name}` ({family}): the type of its key `{parameter.name}` cannot be checked: "
            f"{told}. Write it as `{parameter.name}: float`, with a plain type of Python"
        ) from error
    if parameter.default is not parameter.empty:
        try:
            to_jsonable_python(parameter.default)
        except PydanticSerializationError as error:
            raise ValueError(
                f"`{name}` ({family}): no recipe can write the default of its key "
                f"`{parameter.name}`, {parameter.default!r}. Take a number, a text, a list or a map"
            ) from error


def folders(family: str) -> list[Path]:
    """Where the files of `family` lie. Nothing is imported: `losses` would import torch."""
    home = FAMILIES.get(family, family)
    package = sys.modules.get(f"limbeck.{home}")
    if package:  # its path may have been extended
        return [Path(folder) for folder in package.__path__]
    return [Path(root, *home.split(".")) for root in limbeck.__path__]


def file_stem(family: str, name: str) -> str:
    """The name of a component's file, without `.py`."""
    return name.replace("-", "_") if family == "tasks" else name


def package_of(family: str, name: str) -> str | None:
    """The installed package that offers a component, as `pip` calls it; None for limbeck's own."""
    for point in plug_ins.offered(family):
        if _spelt(family, point.name) == name:
            return plug_ins.package_of(point)
    return None


def _modules(family: str) -> dict[str, str]:
    """Our own components of `family`: name to module."""
    return {
        _spelt(family, stem): _module_name(family, stem)
        for stem, file in _files(family).items()
        if class_name(stem) in _defined_classes(file)
    }


def _module(family: str, name: str) -> str | None:
    """The module of a component of ours; None where no file of that name defines its class."""
    stem = file_stem(family, name)
    file = _files(family).get(stem)
    # `token_classification` has a file, and is no name.
    if file is None or _spelt(family, stem) != name:
        return None
    if class_name(stem) not in _defined_classes(file):
        return None
    return _module_name(family, stem)


def _module_name(family: str, stem: str) -> str:
    """The dotted name of a file of a family."""
    return f"limbeck.{FAMILIES.get(family, family)}.{stem}"


def _spelt(family: str, stem: str) -> str:
    """A component's name by its file's: tasks are spelt as the model hubs spell them."""
    return stem.replace("_", "-") if family == "tasks" else stem


def _files(family: str) -> dict[str, Path]:
    """The public files of a family's folders, by name without `.py`."""
    return {
        file.stem: file
        for folder in folders(family)
        for file in sorted(folder.glob("*.py"))
        if not file.name.startswith("_")
    }


def _defined_classes(file: Path) -> list[str]:
    """The classes that a file defines, found in its text: listing must import no module."""
    return re.findall(r"^class (\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)


def _why_unknown(family: str, name: str) -> str:
    """The message for a name that is no component."""
    file = _files(family).get(file_stem(family, name))
    defined = _defined_classes(file) if file else []
    if file is None or class_name(name) in defined:
        told = f"{family} has no component `{name}`. {suggest(name, names(family))}"
        return ". ".join([told, *plug_ins.strays(FAMILIES, name)])
    return (
        f"{file}: this file of {family} defines no class `{class_name(name)}`, so it holds no "
        f"component. It defines {', '.join(defined) or 'no class'}. Give the class the name of its "
        "file, in CapWords"
    )
