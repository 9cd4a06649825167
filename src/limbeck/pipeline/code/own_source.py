"""Where a Python function or class comes from: an installed package, or a text that can be read.

Of a function that this process has loaded: its part of the syntax tree, whether the text that lies
there now is the one that it was compiled from, and what it loads by name.
"""

import ast
import builtins
import dis
import functools
import sys
import types
from importlib import metadata
from typing import Any

from limbeck.pipeline.code import code_digest

# A flag of the types that are made while Python runs, as by `class` (Py_TPFLAGS_HEAPTYPE).
HEAP_TYPE = 1 << 9

# What a compiled function loads by name.
LOADS_A_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME")
LOADS_AN_ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD")


@functools.cache
def origin_of(module: str) -> str | None:
    """`name==version` of the installed package that a module is of, or `python`; None where its
    code counts: the user's own, whatever is installed for editing, and ours."""
    package = module.partition(".")[0]
    if package == "__main__":
        return None
    if package in sys.stdlib_module_names:
        return "python"
    if code_digest.is_followed(package, ""):
        return None
    owners = code_digest.distributions().get(package, ())
    return " ".join(f"{name}=={metadata.version(name)}" for name in sorted(set(owners)))


def origin_of_class(value: type) -> str | None:
    """As `origin_of`, of the class's module."""
    module = value.__module__
    # `exec` without a name for its module calls the classes that it makes Python's own.
    is_python = module != "builtins" or getattr(builtins, value.__qualname__, None) is value
    if not is_python and is_made_by_class(value):
        return None
    return origin_of(module)


def is_made_by_class(value: type) -> bool:
    """Whether a class and its bases were made by `class`: objects of others may hide a state."""
    bases = [base for base in value.__mro__ if base is not object]
    return all(base.__flags__ & HEAP_TYPE for base in bases)


def is_written_by_dataclass(attribute: Any) -> bool:
    """Whether a function stands in no file: `dataclasses` compiles a text of its own."""
    return isinstance(attribute, types.FunctionType) and (
        attribute.__code__.co_filename == "<string>" or origin_of_function(attribute) == "python"
    )


def origin_of_function(value: types.FunctionType) -> str | None:
    """As `origin_of`, of the file that a function stands in."""
    name = value.__globals__.get("__name__")
    return origin_of(name) if isinstance(name, str) else None


@functools.lru_cache
def parsed(text: str) -> ast.Module:
    """The syntax tree of a file, without docstrings. Raises SyntaxError."""
    return code_digest.without_docstrings(ast.parse(text))


@functools.lru_cache
def compiled(text: str) -> tuple[types.CodeType, ...]:
    """Every function of a file, compiled. Raises SyntaxError."""
    waiting = [compile(text, "<source>", "exec", dont_inherit=True)]
    found: list[types.CodeType] = []
    while waiting:
        code = waiting.pop()
        found.append(code)
        waiting += [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return tuple(found)


def is_loaded_from(text: str, code: types.CodeType) -> bool:
    """Whether a function was compiled from this text: the file may have changed since."""
    return code in compiled(text)


def nodes_of(text: str, code: types.CodeType) -> list[ast.AST]:
    """The function's part of the syntax tree; of several lambdas in one line, all."""
    nodes: list[ast.AST] = []
    try:
        tree = parsed(text)
    except SyntaxError:
        # The file has changed since.
        return nodes
    for node in ast.walk(tree):
        place = None
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # A function begins with its first decorator.
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            place = (node.name, first)
        elif isinstance(node, ast.Lambda):
            place = ("<lambda>", node.lineno)
        if place == (code.co_name, code.co_firstlineno):
            nodes.append(node)
    return nodes


def modules_imported(node: ast.AST, module: str) -> list[str]:
    """The modules whose code counts that a function imports when it is called."""
    names: set[str] = set()
    for child in ast.walk(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            names.update(code_digest.names_imported(child, module))
    return sorted(name for name in names if origin_of(name) is None and code_digest.is_module(name))


def names_loaded(code: types.CodeType) -> list[tuple[str, list[str]]]:
    """(name, the attributes that follow it) of what a function and those inside it load by name."""
    loaded: list[tuple[str, list[str]]] = []
    is_open = False
    for instruction in dis.get_instructions(code):
        if instruction.opname in LOADS_A_GLOBAL:
            loaded.append((instruction.argval, []))
            is_open = True
        elif is_open and instruction.opname in LOADS_AN_ATTRIBUTE:
            loaded[-1][1].append(instruction.argval)
        else:
            is_open = False
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            loaded += names_loaded(constant)
    # Sorted and each once: the order in which a function names things is in its tree.
    return sorted({(name, tuple(rest)): (name, rest) for name, rest in loaded}.values())
