"""What code a module of the user's own consists of, as part of a key.

`code_digest` follows files; a class may stand in a script or a notebook, where a file holds much
else. Here objects are followed, as this process has loaded them: the classes of the module and of
all that is inside it, their functions, what these call by name, enclose or have for defaults,
hooks, and plain attributes. Of a function its syntax tree counts, without comments and docstrings;
what belongs to an installed package counts by the package's version.

A function whose source has changed since it was loaded, or that another tool has rewritten (as
pytest does), counts by its compiled form. One without any source cannot be read: the user is asked
for a version.
"""

import ast
import functools
import hashlib
import inspect
import logging
import re
import sys
import threading
import types
import weakref
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import nn

from limbeck.models.user_model import Own
from limbeck.pipeline import code_digest
from limbeck.pipeline.own_source import (
    is_loaded_from,
    is_made_by_class,
    is_written_by_dataclass,
    modules_imported,
    names_loaded,
    nodes_of,
    origin_of,
    origin_of_class,
)

# Values that print what they are.
PLAIN = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    range,
    slice,
    type(Ellipsis),
    type(NotImplemented),
    Enum,
    PurePath,
    re.Pattern,
    np.generic,
    np.dtype,
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
)

# They change no result, and hold what cannot be read: locks, streams, other objects.
WITHOUT_EFFECT = (
    logging.Logger,
    weakref.ref,
    type(threading.Lock()),
    type(threading.RLock()),
)

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


class Unreadable(ValueError):
    """Something that a module reaches and whose code cannot be read."""


def reference(own: Own, name: str) -> dict[str, Any]:
    """The code of a user's module, as part of a key; the version that the user states, if any.

    Args:
        own: the module.
        name: what the recipe calls it.

    Raises:
        ValueError: its code cannot be read, and no version is stated.
    """
    if own.version is not None:
        return {"version": own.version}
    reader = _Reader()
    try:
        reader.visit(own.module, type(own.module).__name__)
    except Unreadable as error:
        raise ValueError(
            f"model `{name}`: {error}, so that a change of it would not be seen, and an earlier "
            "training be taken for this one. Put the class into a file, or say which version it "
            f'is, and another one after each change: models={{"{name}": limbeck.Own(module, '
            'version="1")}'
        ) from None
    return {"code": reader.sha.hexdigest()}


class _Reader:
    """Walks through objects, and digests what they are.

    seen: number of each object that was met, by identity.
    kept: the objects themselves: an identity is free again once its object is gone.
    """

    def __init__(self) -> None:
        self.sha = hashlib.sha256()
        self.seen: dict[int, int] = {}
        self.kept: list[Any] = []

    def emit(self, *words: object) -> None:
        """Digest a line."""
        self.sha.update(repr(words).encode())

    def visit(self, value: Any, where: str) -> None:
        """Digest a value, and what it reaches.

        Args:
            value: anything.
            where: the way to it, for a message.

        Raises:
            Unreadable: it holds code or data that cannot be read.
        """
        # 1. Values without identity.
        if isinstance(value, PLAIN):
            self.emit(type(value).__name__, repr(value))
            return
        # 2. An object that was met is named by its number: objects may hold one another.
        number = self.seen.get(id(value))
        if number is not None:
            self.emit("again", number)
            return
        self.seen[id(value)] = len(self.seen)
        self.kept.append(value)
        # 3. By kind; the first that fits.
        for kinds, visit in VISITS:
            if isinstance(value, kinds):
                visit(self, value, where)
                return
        self.visit_object(value, where)

    def visit_all(self, values: Iterable[Any], where: str) -> None:
        """Digest values in order."""
        for number, value in enumerate(values):
            self.emit("item")
            self.visit(value, f"{where}[{number}]")

    def visit_mapping(self, value: Mapping[Any, Any], where: str) -> None:
        """A dict, in its own order, which a loop over it follows."""
        self.emit("mapping", len(value))
        self.visit(type(value), where)
        for key, item in value.items():
            self.visit(key, where)
            self.visit(item, f"{where}[{key!r:.40}]")

    def visit_sequence(self, value: Any, where: str) -> None:
        """A list or tuple."""
        self.emit("sequence", len(value))
        self.visit(type(value), where)
        self.visit_all(value, where)

    def visit_set(self, value: Iterable[Any], where: str) -> None:
        """A set, whose order is another in every process."""
        digests: list[str] = []
        for item in value:
            reader = _Reader()
            reader.visit(item, where)
            digests.append(reader.sha.hexdigest())
        self.emit("set", sorted(digests))

    def visit_tensor(self, value: torch.Tensor, where: str) -> None:
        """A tensor that is no weight of a module."""
        self.emit("tensor", str(value.dtype), tuple(value.shape), value.requires_grad)
        if value.device.type != "meta":
            flat = value.detach().cpu().contiguous().flatten()
            # As bytes, since numpy lacks bfloat16.
            self.sha.update(flat.view(torch.uint8).numpy().tobytes())

    def visit_array(self, value: np.ndarray, where: str) -> None:
        """An array of numpy's."""
        self.emit("array", str(value.dtype), value.shape)
        if value.dtype.hasobject:
            self.visit(value.tolist(), where)
        else:
            self.sha.update(value.tobytes())

    def visit_named(self, value: Any, where: str) -> None:
        """A function without Python code: it belongs to an interpreter or a package."""
        self.emit("named", value.__class__.__name__, getattr(value, "__qualname__", repr(value)))
        module = getattr(value, "__module__", None)
        origin = origin_of(module) if isinstance(module, str) else ""
        if origin is None:
            raise Unreadable(f"the code of `{where}` cannot be read (it is compiled)")
        self.emit(origin)
        bound_to = getattr(value, "__self__", None)
        if bound_to is not None and not isinstance(bound_to, types.ModuleType | type):
            self.visit(bound_to, f"{where}.__self__")

    def visit_without_effect(self, value: Any, where: str) -> None:
        """A logger, or a weak reference."""
        self.emit("without effect", type(value).__name__)

    def visit_python_module(self, value: types.ModuleType, where: str) -> None:
        """A file that is imported, all of it."""
        origin = origin_of(value.__name__)
        if origin is None:
            try:
                origin = code_digest.code_digest([value.__name__])
            except (ImportError, ValueError, SyntaxError):
                raise Unreadable(
                    f"the code of the module `{value.__name__}` cannot be read"
                ) from None
        self.emit("python module", value.__name__, origin)

    def visit_partial(self, value: "functools.partial[Any]", where: str) -> None:
        """A function with some of its arguments."""
        self.emit("partial")
        self.visit_all([value.func, value.args, value.keywords], where)

    def visit_method(self, value: types.MethodType, where: str) -> None:
        """A function, and the object that it is called on."""
        self.emit("method")
        self.visit_all([value.__func__, value.__self__], where)

    def visit_wrapper(self, value: Any, where: str) -> None:
        """What a class has in place of a function."""
        self.emit("wrapper", type(value).__name__)
        for name in ("fget", "fset", "fdel", "__func__", "func"):
            function = getattr(value, name, None)
            if function is not None:
                self.visit(function, where)

    def visit_class(self, value: type, where: str) -> None:
        """A class and its bases."""
        self.emit("class", value.__qualname__)
        origin = origin_of_class(value)
        if origin is not None:
            self.emit(value.__module__, origin)
            # An installed package may have made this class of one of the user's.
            own = [base for base in value.__mro__ if origin_of_class(base) is None]
            self.visit_all(own, where)
            return
        self.visit_all(value.__bases__, where)
        is_dataclass = "__dataclass_fields__" in vars(value)
        for name, attribute in sorted(vars(value).items()):
            if name in OF_EVERY_CLASS or isinstance(attribute, types.MemberDescriptorType):
                continue
            # A dataclass writes these itself, from the fields that follow.
            if is_dataclass and is_written_by_dataclass(attribute):
                continue
            self.emit("attribute", name)
            self.visit(attribute, f"{value.__qualname__}.{name}")
        for name, field in vars(value).get("__dataclass_fields__", {}).items():
            self.emit("field", name)
            self.visit(field.default_factory, f"{value.__qualname__}.{name}")

    def visit_module(self, value: nn.Module, where: str) -> None:
        """A module of torch's, and those inside it."""
        self.emit("module", value.extra_repr())
        self.visit(type(value), type(value).__qualname__)
        # 1. Weights: which there are, and which are one and the same.
        for name, tensor in [*value._parameters.items(), *value._buffers.items()]:
            number = None if tensor is None else self.seen.setdefault(id(tensor), len(self.seen))
            self.kept.append(tensor)
            self.emit("weight", name, number)
        # 2. Everything else that it holds.
        for name, attribute in sorted(vars(value).items()):
            if name in OF_EVERY_MODULE:
                continue
            # Hooks are numbered by how many the process has made before.
            is_hooks = "_hooks" in name and isinstance(attribute, dict)
            self.emit("attribute", name)
            self.visit(list(attribute.values()) if is_hooks else attribute, f"{where}.{name}")
        # 3. Those inside.
        for name, module in value._modules.items():
            self.emit("inside", name)
            self.visit(module, f"{where}.{name}")

    def visit_object(self, value: Any, where: str) -> None:
        """Any other object: its class, and what it holds."""
        self.emit("object")
        self.visit(type(value), type(value).__qualname__)
        held = dict(state_of(value))
        if held:
            for name, attribute in sorted(held.items()):
                self.emit("attribute", name)
                self.visit(attribute, f"{where}.{name}")
            return
        text = repr(value)
        if not ADDRESS.search(text):
            self.emit(text)
        elif is_made_by_class(type(value)) and getattr(value, "__dict__", None) is not None:
            # It holds nothing, and is what its class is.
            self.emit("empty")
        else:
            raise Unreadable(f"`{where}` ({type(value).__qualname__}) cannot be read")

    def visit_function(self, value: types.FunctionType, where: str) -> None:
        """A function of Python's, what it calls, encloses and has for defaults."""
        self.emit("function", value.__code__.co_name)
        # Not `__module__`, which a decorator takes over from what it decorates.
        module = value.__globals__.get("__name__")
        origin = origin_of(module) if isinstance(module, str) else None
        if origin is not None:
            self.emit(module, value.__qualname__, origin)
        else:
            self.visit_own_function(value, where, module or "")
        # A decorator of an installed package encloses the user's function.
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            self.emit("enclosed", name)
            try:
                content = cell.cell_contents
            except ValueError:
                # Not filled yet.
                continue
            self.visit(content, f"{where}: {name}")
        self.visit_all([value.__defaults__, value.__kwdefaults__], where)
        if value.__dict__:
            self.visit(value.__dict__, where)

    def visit_own_function(self, value: types.FunctionType, where: str, module: str) -> None:
        """The code of a function of the user's, and what it names."""
        code = value.__code__
        try:
            lines, _ = inspect.findsource(code)
        except (OSError, TypeError):
            raise Unreadable(f"the code of `{where}` cannot be read (no file holds it)") from None
        text = "".join(lines)
        nodes = nodes_of(text, code)
        if nodes and is_loaded_from(text, code):
            for node in nodes:
                self.emit("tree", ast.dump(node))
        else:
            self.visit_compiled(code)
        for node in nodes:
            for imported in modules_imported(node, module):
                self.emit("imports", imported, code_digest.code_digest([imported]))
        for name, attributes in names_loaded(code):
            if name in value.__globals__:
                self.emit("global", name)
                self.visit_chain(value.__globals__[name], attributes, name)

    def visit_chain(self, value: Any, attributes: list[str], where: str) -> None:
        """`helpers.scale` where `helpers` is a file of the user's: what is named in it, no more."""
        for name in attributes:
            is_own = isinstance(value, types.ModuleType) and origin_of(value.__name__) is None
            if not is_own or name not in vars(value):
                break
            value = vars(value)[name]
            where = f"{where}.{name}"
        self.visit(value, where)

    def visit_compiled(self, code: types.CodeType) -> None:
        """The compiled form of a function."""
        self.emit("compiled", sys.version_info[:2], code.co_code, code.co_names, code.co_varnames)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self.visit_compiled(constant)
            else:
                self.visit(constant, code.co_name)


VISITS: tuple[tuple[Any, Any], ...] = (
    (nn.Module, _Reader.visit_module),
    (torch.Tensor, _Reader.visit_tensor),
    (np.ndarray, _Reader.visit_array),
    (type, _Reader.visit_class),
    (types.FunctionType, _Reader.visit_function),
    (types.MethodType, _Reader.visit_method),
    (types.ModuleType, _Reader.visit_python_module),
    (functools.partial, _Reader.visit_partial),
    (
        (property, staticmethod, classmethod, functools.cached_property),
        _Reader.visit_wrapper,
    ),
    (
        (
            types.BuiltinFunctionType,
            types.MethodDescriptorType,
            types.WrapperDescriptorType,
            types.MethodWrapperType,
            types.ClassMethodDescriptorType,
            types.GetSetDescriptorType,
            np.ufunc,
        ),
        _Reader.visit_named,
    ),
    (WITHOUT_EFFECT, _Reader.visit_without_effect),
    ((list, tuple), _Reader.visit_sequence),
    ((set, frozenset), _Reader.visit_set),
    ((dict, types.MappingProxyType), _Reader.visit_mapping),
)


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
