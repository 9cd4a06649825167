"""Does a class offer what its family asks for, and do its methods return it?

A family's contract is a Protocol in its package: class variables and methods, among others. What a
class lacks is told where a recipe names it, not in a training. What its methods return is checked
by the one place of each family that calls them, and told by `wrong_return`.
"""

import functools
import inspect
from functools import cache
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError


def lacks(component: type, contract: type) -> list[str]:
    """What `component` lacks of `contract`, as words for a message; nothing where it has all."""
    missing = []
    for name in _members(contract):
        if not _has(component, name):
            missing.append(f"its class has no `{name}`")
        elif name in _class_variables(contract):
            missing += _wrong_value(component, contract, name)
        elif not _takes_its_arguments(component, contract, name):
            expected = ", ".join(_positional(contract, name))
            missing.append(f"its `{name}` does not take ({expected})")
    return missing


def offers(component: type, contract: type) -> bool:
    """Whether `component` has something under every name that `contract` asks for."""
    return all(_has(component, name) for name in _members(contract))


def wrong_return(
    component: str, method: str, returned: Any, expected: str, called: Any = None
) -> ValueError:
    """The mistake of a component, perhaps somebody else's, that returned something else.

    `called`: what returned it, for the place of its code.

    >>> wrong_return("the loss `mine`", "__call__", 1, "a scalar tensor").args[0]
    'the loss `mine` returned an int from `__call__`; it is to return a scalar tensor'
    """
    found = f"{described(returned)} from `{method}`{place(called)}"
    return ValueError(f"{component} returned {found}; it is to return {expected}")


def place(called: Any) -> str:
    """` (FILE:LINE)`, where the code of a function, a method or an object that can be called
    begins; nothing where none is written in Python.

    >>> place(place).rpartition("/")[2].partition(":")[0], place(len)
    ('contract.py', '')
    """
    found = called
    while isinstance(found, functools.partial):
        found = found.func
    if callable(found) and not inspect.isroutine(found):
        # torch's `__call__` is not what somebody wrote.
        found = getattr(found, "forward", type(found).__call__)
    found = inspect.unwrap(found)
    code = getattr(getattr(found, "__func__", found), "__code__", None)
    return f" ({code.co_filename}:{code.co_firstlineno})" if code else ""


def require_argument(name: str, value: Any, kinds: tuple[type, ...], expected: str) -> None:
    """Raise TypeError where an argument of a public function is of another type.

    >>> require_argument("threads", "2", (int,), "a whole number")
    Traceback (most recent call last):
    TypeError: threads: a whole number is expected, and not a str
    """
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise TypeError(f"{name}: {expected} is expected, and not {described(value)}")


def described(value: Any) -> str:
    """What a value is, for a message: its type, its shape and its dtype where it has them.

    >>> described(None), described([1, 2])
    ('None', 'a list')
    """
    if value is None:
        return "None"
    kind = type(value).__name__
    article = "an" if kind[0].lower() in "aeiou" else "a"
    shape = getattr(value, "shape", None)
    if shape is None:
        return f"{article} {kind}"
    dtype = getattr(value, "dtype", "objects")
    return f"{article} {kind} of shape {tuple(shape)} and {dtype}"


def _members(contract: type) -> list[str]:
    """The class variables and methods that a Protocol asks for, its parents' first.

    Not its properties and fields: what `__init__` sets cannot be seen of a class.
    """
    names: dict[str, None] = {}
    for each in reversed(contract.__mro__):
        if not getattr(each, "_is_protocol", False):
            continue
        annotations = vars(each).get("__annotations__", {})
        own = [name for name, kind in annotations.items() if get_origin(kind) is ClassVar]
        own += [name for name in vars(each) if _is_method(each, name)]
        names |= dict.fromkeys(own)
    return list(names)


@cache
def _class_variables(contract: type) -> dict[str, Any]:
    """The types of the class variables that a Protocol asks for."""
    hints = get_type_hints(contract)
    return {name: kind for name, kind in hints.items() if get_origin(kind) is ClassVar}


def _wrong_value(component: type, contract: type, name: str) -> list[str]:
    """Why a class variable is not what the contract says: a text where a tuple is asked for."""
    (kind,) = get_args(_class_variables(contract)[name])
    try:
        # A recipe is checked by the class, before there is an object.
        value = getattr(component, name)
    except AttributeError as error:
        return [f"its class has no `{name}` ({error})"]
    try:
        _adapter(kind).validate_python(value)
    except ValidationError:
        return [f"its `{name}` is {value!r}, not {_spelt(kind)}"]
    return []


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """What checks a class variable."""
    return TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True))


def _spelt(kind: Any) -> str:
    """A type as Python writes it."""
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)


def _is_method(owner: type, name: str) -> bool:
    """Whether a Protocol's attribute is a method that components write themselves."""
    if name == "__init__":
        # Of a Protocol without a constructor `typing` puts one there.
        return _unwrapped(owner, name).__module__ != "typing"
    is_python_s = name.startswith("_") and name != "__call__"
    return not is_python_s and inspect.isfunction(_unwrapped(owner, name))


def _has(component: type, name: str) -> bool:
    """Whether a class, or what it makes, has the attribute.

    Not by the class of classes, by which every class can be called.
    """
    for each in component.__mro__:
        # A field of a dataclass without a default is an annotation alone.
        if name in vars(each) or name in vars(each).get("__annotations__", {}):
            return True
    return False


def _takes_its_arguments(component: type, contract: type, name: str) -> bool:
    """Whether a method, or the class itself, can be called with the arguments of the contract's."""
    if not inspect.isfunction(_unwrapped(contract, name)):
        return True
    # torch's `__call__` takes anything and hands it to `forward`.
    own = "forward" if name == "__call__" and _has(component, "forward") else name
    method = _unwrapped(component, own)
    if not inspect.isfunction(method):
        # A class that has no constructor of its own has `object`'s, which takes nothing.
        return name != "__init__" or method is not object.__init__
    parameters = inspect.signature(method)
    arguments: list[Any] = list(_positional(contract, name))
    if not isinstance(inspect.getattr_static(component, own), staticmethod):
        arguments.insert(0, "self")
    keywords = {
        each.name: each
        for each in inspect.signature(_unwrapped(contract, name)).parameters.values()
        if each.kind is each.KEYWORD_ONLY and each.default is each.empty
    }
    try:
        parameters.bind(*arguments, **keywords)
    except TypeError:
        return False
    return True


def _positional(contract: type, name: str) -> list[str]:
    """The names of the arguments that a contract's method is given by place."""
    parameters = inspect.signature(_unwrapped(contract, name)).parameters.values()
    names = [
        each.name
        for each in parameters
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
        and each.default is each.empty
    ]
    is_static = isinstance(inspect.getattr_static(contract, name), staticmethod)
    return names if is_static else names[1:]


def _unwrapped(owner: type, name: str) -> Any:
    """The function behind a method, or what else stands there; None for an annotation alone."""
    found = inspect.getattr_static(owner, name, None)
    return found.__func__ if isinstance(found, staticmethod | classmethod) else found
