"""How functions are digested, for a walk through a user's module (`own_walk`): by their syntax
trees, and by what they call, enclose and have for defaults.

What belongs to an installed package counts by the package's version. Each function here is given
the walk, a value, and the way to it for a message.
"""

import ast
import functools
import inspect
import sys
import types
from typing import Any

import numpy as np

from limbeck.pipeline.code import code_digest
from limbeck.pipeline.code.own_source import (
    is_loaded_from,
    modules_imported,
    names_loaded,
    nodes_of,
    origin_of,
)
from limbeck.pipeline.code.own_walk import Unreadable, Visits, Walk


def visit_function(walk: Walk, value: types.FunctionType, where: str) -> None:
    """A function of Python's, what it calls, encloses and has for defaults."""
    walk.emit("function", value.__code__.co_name)
    # Not `__module__`, which a decorator takes over from what it decorates.
    module = value.__globals__.get("__name__")
    origin = origin_of(module) if isinstance(module, str) else None
    if origin is not None:
        walk.emit(module, value.__qualname__, origin)
    else:
        visit_own_function(walk, value, where, module or "")
    # A decorator of an installed package encloses the user's function.
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
        walk.emit("enclosed", name)
        try:
            content = cell.cell_contents
        except ValueError:
            # Not filled yet.
            continue
        walk.visit(content, f"{where}: {name}")
    walk.visit_all([value.__defaults__, value.__kwdefaults__], where)
    if value.__dict__:
        walk.visit(value.__dict__, where)


def visit_own_function(walk: Walk, value: types.FunctionType, where: str, module: str) -> None:
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
            walk.emit("tree", ast.dump(node))
    else:
        visit_compiled(walk, code)
    for node in nodes:
        for imported in modules_imported(node, module):
            walk.emit("imports", imported, code_digest.code_digest([imported]))
    for name, attributes in names_loaded(code):
        if name in value.__globals__:
            walk.emit("global", name)
            visit_chain(walk, value.__globals__[name], attributes, name)


def visit_chain(walk: Walk, value: Any, attributes: list[str], where: str) -> None:
    """`helpers.scale` where `helpers` is a file of the user's: what is named in it, no more."""
    for name in attributes:
        is_own = isinstance(value, types.ModuleType) and origin_of(value.__name__) is None
        if not is_own or name not in vars(value):
            break
        value = vars(value)[name]
        where = f"{where}.{name}"
    walk.visit(value, where)


def visit_compiled(walk: Walk, code: types.CodeType) -> None:
    """The compiled form of a function."""
    walk.emit("compiled", sys.version_info[:2], code.co_code, code.co_names, code.co_varnames)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            visit_compiled(walk, constant)
        else:
            walk.visit(constant, code.co_name)


def visit_named(walk: Walk, value: Any, where: str) -> None:
    """A function without Python code: it belongs to an interpreter or a package."""
    walk.emit("named", value.__class__.__name__, getattr(value, "__qualname__", repr(value)))
    module = getattr(value, "__module__", None)
    origin = origin_of(module) if isinstance(module, str) else ""
    if origin is None:
        raise Unreadable(f"the code of `{where}` cannot be read (it is compiled)")
    walk.emit(origin)
    bound_to = getattr(value, "__self__", None)
    if bound_to is not None and not isinstance(bound_to, types.ModuleType | type):
        walk.visit(bound_to, f"{where}.__self__")


def visit_python_module(walk: Walk, value: types.ModuleType, where: str) -> None:
    """A file that is imported, all of it."""
    origin = origin_of(value.__name__)
    if origin is None:
        try:
            origin = code_digest.code_digest([value.__name__])
        except (ImportError, ValueError, SyntaxError):
            raise Unreadable(f"the code of the module `{value.__name__}` cannot be read") from None
    walk.emit("python module", value.__name__, origin)


def visit_partial(walk: Walk, value: "functools.partial[Any]", where: str) -> None:
    """A function with some of its arguments."""
    walk.emit("partial")
    walk.visit_all([value.func, value.args, value.keywords], where)


def visit_method(walk: Walk, value: types.MethodType, where: str) -> None:
    """A function, and the object that it is called on."""
    walk.emit("method")
    walk.visit_all([value.__func__, value.__self__], where)


def visit_wrapper(walk: Walk, value: Any, where: str) -> None:
    """What a class has in place of a function."""
    walk.emit("wrapper", type(value).__name__)
    for name in ("fget", "fset", "fdel", "__func__", "func"):
        function = getattr(value, name, None)
        if function is not None:
            walk.visit(function, where)


FUNCTIONS: Visits = (
    (types.FunctionType, visit_function),
    (types.MethodType, visit_method),
    (types.ModuleType, visit_python_module),
    (functools.partial, visit_partial),
    ((property, staticmethod, classmethod, functools.cached_property), visit_wrapper),
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
        visit_named,
    ),
)
