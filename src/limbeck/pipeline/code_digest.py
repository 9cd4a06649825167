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

# The nodes of a syntax tree that may begin with a docstring.
DOCUMENTED = (
    ast.Module,
    ast.ClassDef,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
)


def code_digest(
    modules: Iterable[str],
    components: Iterable[tuple[str, str]] = (),
) -> str:
    """SHA-256 (hex) of the code that `modules` and `components` reach.

    Args:
        modules: by dotted name, usually the one of a stage's function.
        components: (family, name in a recipe) of those that are loaded by name.
    """
    # 1. Every module, whoever reaches it.
    starts = set(modules)
    for family, name in components:
        starts.add(module_of(family, name))
    reached: set[str] = set()
    for start in starts:
        reached |= modules_reached(start)
    # 2. Their code, in an order that does not hang on who reached what.
    lines = [f"{name} {tree_digest(source_file(name))}" for name in sorted(reached)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def module_of(family: str, name: str) -> str:
    """The module of a component, ours or a plug-in's."""
    module: str = registry.load(family, name).__module__
    return module


@cache
def modules_reached(start: str) -> frozenset[str]:
    """`start` and every module of its package, or of limbeck, that it imports, however far away."""
    packages = {OURS, _package_of(start)}
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        module = waiting.pop()
        # Modules import in circles too.
        if module in reached or _package_of(module) not in packages:
            continue
        reached.add(module)
        waiting += _packages_of(module)
        waiting += imports_of(module)
    return frozenset(reached)


def _package_of(module: str) -> str:
    """The outermost package that a module is in."""
    return module.split(".")[0]


def _packages_of(module: str) -> list[str]:
    """`a.b.c` runs the files of `a` and `a.b` too."""
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


@cache
def imports_of(module: str) -> tuple[str, ...]:
    """The modules of its own package and of limbeck that a module imports, in its functions too."""
    tree = ast.parse(source_file(module).read_bytes())
    names: set[str] = set()
    for node in _nodes_that_run(tree):
        names.update(_names_imported(node, module))
    # Others are not followed, and to ask whether each of them is a module would import them.
    followed = {OURS, _package_of(module)}
    return tuple(
        name for name in sorted(names) if _package_of(name) in followed and _is_module(name)
    )


def _nodes_that_run(node: ast.AST) -> Iterator[ast.AST]:
    """Every node, but those that only a type checker reads."""
    yield node
    for child in ast.iter_child_nodes(node):
        # Its name may be bare or an attribute of `typing`: the printed tree has both.
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield from _nodes_that_run(child)


def _names_imported(node: ast.AST, module: str) -> list[str]:
    """What an import statement may name: modules, and what may be a module or a name in one."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    # `from a import b` runs `a`, and `a.b` where that is a module.
    base = node.module or ""
    if node.level:
        # `from .c import d`: one dot is the package that the file stands in, each other its parent.
        here = module.split(".")
        if not _is_package(module):
            here = here[:-1]
        parents = here[: len(here) - node.level + 1]
        named = [node.module] if node.module else []
        base = ".".join(parents + named)
    return [base, *(f"{base}.{alias.name}" for alias in node.names)]


@cache
def _is_module(name: str) -> bool:
    """Whether a dotted name of ours, or of a plug-in, is a module and not something inside one."""
    try:
        spec = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        # `a.b.c` where `a.b` is no package.
        return False
    # Not what is compiled or built in, which has no source to look at.
    if spec is None or spec.origin is None:
        return False
    return spec.origin.endswith(".py")


def _is_package(module: str) -> bool:
    """Whether a module is a folder's `__init__.py`."""
    return source_file(module).name == "__init__.py"


@cache
def source_file(module: str) -> Path:
    """The file of a module. Raises ModuleNotFoundError where there is none."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{module} has no source file", name=module)
    return Path(spec.origin)


@cache
def tree_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's syntax tree, without docstrings and comments.

    Made once a process, which runs the code that it has loaded, whatever is edited meanwhile.
    """
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if not isinstance(node, DOCUMENTED):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            # A body may not be empty: what is left of a class that is its docstring alone.
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
