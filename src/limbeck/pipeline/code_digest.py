"""What code a stage's result depends on, as part of its key: a changed loss is a changed training.

The digest covers the syntax trees of every module that the stage's function reaches by import, and
of the components and plug-ins that the recipe names, with all that they reach. Docstrings and
comments do not count, and no number is raised by hand. Only limbeck's own modules and a plug-in's
package are followed; other packages count by their versions (`RunContext.environment`).
"""

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from limbeck.core import registry

OURS = "limbeck"
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_digest(modules: Iterable[str], components: Iterable[tuple[str, str]] = ()) -> str:
    """SHA-256 (hex) of the code that `modules` and `components` reach.

    Args:
        modules: by dotted name, usually the one of a stage's function.
        components: (family, name in a recipe) of those that are loaded by name.
    """
    starts = {*modules, *(module_of(family, name) for family, name in components)}
    reached = sorted(frozenset().union(*(modules_reached(start) for start in starts)))
    lines = [f"{name} {tree_digest(source_file(name))}" for name in reached]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def module_of(family: str, name: str) -> str:
    """The module of a component, ours or a plug-in's."""
    module: str = registry.load(family, name).__module__
    return module


@cache
def modules_reached(start: str) -> frozenset[str]:
    """`start` and every module of its package, or of limbeck, that it imports, however far away."""
    packages = {OURS, start.split(".")[0]}
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        module = waiting.pop()
        if module in reached or module.split(".")[0] not in packages:
            continue
        reached.add(module)
        waiting += _packages_of(module)
        waiting += imports_of(module)
    return frozenset(reached)


def _packages_of(module: str) -> list[str]:
    """`a.b.c` runs the files of `a` and `a.b` too."""
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


@cache
def imports_of(module: str) -> tuple[str, ...]:
    """The modules that a module's code imports, inside its functions too."""
    tree = ast.parse(source_file(module).read_bytes())
    return tuple(
        name
        for node in _nodes_that_run(tree)
        for name in _names_imported(node, module)
        if _is_module(name)
    )


def _nodes_that_run(node: ast.AST) -> Iterator[ast.AST]:
    """Every node, but those that only a type checker reads."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield from _nodes_that_run(child)


def _names_imported(node: ast.AST, module: str) -> list[str]:
    """What an import statement may name: modules, and what may be a module or a name in one."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        here = module.split(".") if _is_package(module) else module.split(".")[:-1]
        parents = here[: len(here) - node.level + 1]
        base = ".".join([*parents, *([base] if base else [])])
    return [base, *(f"{base}.{alias.name}" for alias in node.names)]


@cache
def _is_module(name: str) -> bool:
    """Whether a dotted name of ours, or of a plug-in, is a module and not something inside one."""
    try:
        found = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        return False  # `a.b.c` where `a.b` is no package
    return found is not None and found.origin is not None and found.origin.endswith(".py")


def _is_package(module: str) -> bool:
    return source_file(module).name == "__init__.py"


@cache
def source_file(module: str) -> Path:
    """The file of a module. Raises ModuleNotFoundError where there is none."""
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"{module} has no source file", name=module)
    return Path(found.origin)


def tree_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's syntax tree, without docstrings and comments."""
    status = path.stat()
    return _tree_digest(path, status.st_mtime_ns, status.st_size)


@cache
def _tree_digest(path: Path, modified_ns: int, size: int) -> str:
    """Made once for a file as it is: parsing all of limbeck takes half a second."""
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if not isinstance(node, DOCUMENTED):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            # A body may not be empty: what is left of a class that is its docstring alone.
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
