"""Components that Python code hands to this process by a decorator, such as `@limbeck.loss`.

They stand beside limbeck's own and those of plug-ins (`core.registry`), under names that neither
has, and are gone with the process: no other process of a run knows them.
"""

from typing import Any, NamedTuple


class Registered(NamedTuple):
    """`component`: the class that the family asks for. `written`: what the user wrote, a class or a
    function, whose code is part of cache keys."""

    component: type
    written: Any


# (Family, name in a recipe) -> the newest of that name: a notebook's cell is run again and again.
_registered: dict[tuple[str, str], Registered] = {}


def register(family: str, name: str, component: type, written: Any) -> None:
    """Offer a component in this process; one of the same name that was registered is replaced."""
    # The older one goes on in what was made of it.
    _registered[family, name] = Registered(component, written)


def names(family: str) -> list[str]:
    """What was registered of a family."""
    return [name for kind, name in _registered if kind == family]


def find(family: str, name: str) -> Registered | None:
    """What was registered under a name, if anything was."""
    return _registered.get((family, name))
