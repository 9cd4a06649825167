"""How classes and their objects are digested, for a walk through a user's module (`own_walk`): a
module of torch's with those inside it, a class with its bases, any other object by what it holds.

Each function is given the walk, a value, and the way to it for a message.
"""

import re
import types
from collections.abc import Iterator
from typing import Any

from torch import nn

from limbeck.pipeline.code.own_source import (
    is_made_by_class,
    is_written_by_dataclass,
    origin_of_class,
)
from limbeck.pipeline.code.own_walk import Unreadable, Visits, Walk

# What every class has and no forward reads, or what the fields of a dataclass say already.
OF_EVERY_CLASS = {
    "__annotations__",
    "__annotate__",
    "__annotate_func__",
    "__annotations_cache__",
    "__dataclass_fields__",
    "__dataclass_params__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__module__",
    "__orig_bases__",
    "__parameters__",
    "__static_attributes__",
    "__weakref__",
    "_abc_impl",
}

# Attributes of a module that stand for themselves (weights are in `Own.reference`, by value), or
# that a training sets.
OF_EVERY_MODULE = {"_parameters", "_buffers", "_modules", "training"}

# Python writes the address of an object that has no other way to print itself.
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def visit_class(walk: Walk, value: type, where: str) -> None:
    """A class and its bases."""
    walk.emit("class", value.__qualname__)
    origin = origin_of_class(value)
    if origin is not None:
        walk.emit(value.__module__, origin)
        # An installed package may have made this class of one of the user's.
        own = [base for base in value.__mro__ if origin_of_class(base) is None]
        walk.visit_all(own, where)
        return
    walk.visit_all(value.__bases__, where)
    is_dataclass = "__dataclass_fields__" in vars(value)
    for name, attribute in sorted(vars(value).items()):
        if name in OF_EVERY_CLASS or isinstance(attribute, types.MemberDescriptorType):
            continue
        # A dataclass writes these itself, from the fields that follow.
        if is_dataclass and is_written_by_dataclass(attribute):
            continue
        walk.emit("attribute", name)
        walk.visit(attribute, f"{value.__qualname__}.{name}")
    for name, field in vars(value).get("__dataclass_fields__", {}).items():
        walk.emit("field", name)
        walk.visit(field.default_factory, f"{value.__qualname__}.{name}")


def visit_module(walk: Walk, value: nn.Module, where: str) -> None:
    """A module of torch's, and those inside it."""
    walk.emit("module", value.extra_repr())
    walk.visit(type(value), type(value).__qualname__)
    # 1. Weights: which there are, and which are one and the same.
    for name, tensor in [*value._parameters.items(), *value._buffers.items()]:
        number = None if tensor is None else walk.seen.setdefault(id(tensor), len(walk.seen))
        walk.kept.append(tensor)
        walk.emit("weight", name, number)
    # 2. Everything else that it holds.
    for name, attribute in sorted(vars(value).items()):
        if name in OF_EVERY_MODULE:
            continue
        # Hooks are numbered by how many the process has made before.
        is_hooks = "_hooks" in name and isinstance(attribute, dict)
        walk.emit("attribute", name)
        walk.visit(list(attribute.values()) if is_hooks else attribute, f"{where}.{name}")
    # 3. Those inside.
    for name, module in value._modules.items():
        walk.emit("inside", name)
        walk.visit(module, f"{where}.{name}")


def visit_object(walk: Walk, value: Any, where: str) -> None:
    """Any other object: its class, and what it holds."""
    walk.emit("object")
    walk.visit(type(value), type(value).__qualname__)
    held = dict(state_of(value))
    if held:
        for name, attribute in sorted(held.items()):
            walk.emit("attribute", name)
            walk.visit(attribute, f"{where}.{name}")
        return
    text = repr(value)
    if not ADDRESS.search(text):
        walk.emit(text)
    elif is_made_by_class(type(value)) and getattr(value, "__dict__", None) is not None:
        # It holds nothing, and is what its class is.
        walk.emit("empty")
    else:
        raise Unreadable(f"`{where}` ({type(value).__qualname__}) cannot be read")


def state_of(value: Any) -> Iterator[tuple[str, Any]]:
    """The attributes of an object, those in slots too."""
    yield from getattr(value, "__dict__", {}).items()
    for base in type(value).__mro__:
        # Of a compiled class the members may be addresses.
        if not is_made_by_class(base):
            continue
        for name, attribute in vars(base).items():
            if isinstance(attribute, types.MemberDescriptorType):
                try:
                    yield name, attribute.__get__(value)
                except AttributeError:
                    # A slot that was never filled.
                    continue


CLASSES: Visits = (
    (nn.Module, visit_module),
    (type, visit_class),
)

# The last, which fits every object.
ANYTHING: Visits = ((object, visit_object),)
