"""What code a stage's result depends on, as part of its key: a changed loss is a changed training.

The digest covers the syntax trees of every module that the stage's function reaches by import, and
of the components and plug-ins that the recipe names, with all that they reach. Docstrings and
comments do not count, and no number is raised by hand.

Which modules are followed:

- Of our own: all of limbeck's. Other packages count by their versions (`RunContext.environment`).
- Of a plug-in: its own distribution's, and whatever is not installed as a package or is installed
  for editing: it may change without a new version. Installed packages count by their versions. A
  module whose name stands in the code as a text counts too (`import_module("mine.tables")`), and
  so do the other files in the folder of a plug-in's package.

What a plug-in reads elsewhere (a file of another folder, the environment) no key can see; it is to
be a key of the component (CONTRIBUTING.md says so).
"""

import ast
import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path

from limbeck.core import registry
from limbeck.core.files import file_digest

OURS = "limbeck"

# The nodes of a syntax tree that may begin with a docstring.
DOCUMENTED = (
    ast.Module,
    ast.ClassDef,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
)

# A dotted name of a module inside a package.
DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


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
    lines = [f"{name} {tree_digest(name)}" for name in sorted(reached)]
    # 3. What else a plug-in is made of.
    for package in sorted({_package_of(name) for name in reached} - {OURS}):
        lines += data_files(package)
    for name in sorted(reached):
        lines += versions_used(name)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def module_of(family: str, name: str) -> str:
    """The module of a component, ours or a plug-in's."""
    module: str = registry.load(family, name).__module__
    return module


@cache
def modules_reached(start: str) -> frozenset[str]:
    """`start` and every module that it imports and that is followed, however far away."""
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        module = waiting.pop()
        # Modules import in circles too.
        if module in reached:
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
    """The modules that are followed from a module: what it imports, in its functions too."""
    package = _package_of(module)
    followed = [name for name in _named_in(module) if is_followed(_package_of(name), package)]
    return tuple(name for name in followed if is_module(name))


@cache
def versions_used(module: str) -> tuple[str, ...]:
    """`name==version` of the installed packages that a plug-in's module imports."""
    package = _package_of(module)
    if package == OURS:
        return ()
    used: set[str] = set()
    for name in _named_in(module):
        imported = _package_of(name)
        if not is_followed(imported, package):
            used.update(distributions().get(imported, ()))
    return tuple(f"{name}=={metadata.version(name)}" for name in sorted(used))


@cache
def data_files(package: str) -> tuple[str, ...]:
    """Name and digest of each file beside the code in the folder of a plug-in's package."""
    spec = importlib.util.find_spec(package)
    lines = []
    for folder in spec.submodule_search_locations or () if spec else ():
        for file in sorted(Path(folder).rglob("*")):
            name = file.relative_to(folder)
            is_hidden = any(part.startswith((".", "__pycache__")) for part in name.parts)
            if file.is_file() and file.suffix != ".py" and not is_hidden:
                lines.append(f"{package}/{name.as_posix()} {file_digest(file)}")
    return tuple(lines)


@cache
def is_followed(imported: str, package: str) -> bool:
    """Whether the code of package `imported` counts where `package` imports it."""
    if imported in (OURS, package):
        return True
    if package == OURS or imported in sys.stdlib_module_names:
        return False
    owners = set(distributions().get(imported, ()))
    if not owners or owners & set(distributions().get(package, ())):
        return True
    return any(_is_editable(name) for name in owners)


@cache
def distributions() -> Mapping[str, Sequence[str]]:
    """Package -> the distributions that bring it. It reads the lists of all that is installed."""
    return metadata.packages_distributions()


def _is_editable(distribution: str) -> bool:
    """Whether a distribution was installed as `pip install -e`."""
    told = metadata.distribution(distribution).read_text("direct_url.json") or ""
    return re.search(r'"editable":\s*true', told) is not None


@cache
def _named_in(module: str) -> tuple[str, ...]:
    """What a module's code names that may be a module, sorted."""
    tree = ast.parse(source_of(module))
    names: set[str] = set()
    for node in _nodes_that_run(tree):
        names.update(names_imported(node, module))
        names.update(_names_in_text(node, module))
    return tuple(sorted(names))


def _names_in_text(node: ast.AST, module: str) -> list[str]:
    """The text of a constant that may name a module, as `import_module("mine.tables")` does.

    Of a plug-in's own package alone: to look for `setup.py` would import a module `setup`.
    """
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return []
    package = _package_of(module)
    is_named = package != OURS and node.value.startswith(f"{package}.")
    return [node.value] if is_named and DOTTED.fullmatch(node.value) else []


def _nodes_that_run(node: ast.AST) -> Iterator[ast.AST]:
    """Every node, but those that only a type checker reads."""
    yield node
    for child in ast.iter_child_nodes(node):
        # Its name may be bare or an attribute of `typing`: the printed tree has both.
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield from _nodes_that_run(child)


def names_imported(node: ast.AST, module: str) -> list[str]:
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
def is_module(name: str) -> bool:
    """Whether a dotted name of ours, or of a plug-in, is a module and not something inside one."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, AttributeError, ValueError):
        # `a.b.c` where `a.b` is no package, or a plug-in's `a` cannot be imported.
        return False
    # Not what is compiled or built in, which has no source to look at.
    if spec is None or spec.origin is None:
        return False
    return spec.origin.endswith(".py")


def _is_package(module: str) -> bool:
    """Whether a module is a folder's `__init__.py`."""
    return _spec(module).submodule_search_locations is not None


def source_of(module: str) -> str:
    """The text of a module, which may lie in a zip. Raises ModuleNotFoundError without one."""
    get_source = getattr(_spec(module).loader, "get_source", None)
    text: str | None = get_source(module) if get_source else None
    if text is None:
        raise ModuleNotFoundError(f"{module} has no source file", name=module)
    return text


@cache
def _spec(module: str) -> ModuleSpec:
    """Where a module comes from. Raises ModuleNotFoundError where there is none."""
    spec = importlib.util.find_spec(module)
    if spec is None:
        raise ModuleNotFoundError(f"{module} is not installed", name=module)
    return spec


@cache
def tree_digest(module: str) -> str:
    """SHA-256 (hex) of a module's syntax tree, without docstrings and comments.

    Made once a process, which runs the code that it has loaded, whatever is edited meanwhile.
    """
    tree = without_docstrings(ast.parse(source_of(module)))
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def without_docstrings(tree: ast.Module) -> ast.Module:
    """The tree, changed in place."""
    for node in ast.walk(tree):
        if not isinstance(node, DOCUMENTED):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            # A body may not be empty: what is left of a class that is its docstring alone.
            node.body = node.body[1:] or [ast.Pass()]
    return tree
