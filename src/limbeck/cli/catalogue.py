"""What `limbeck list` shows: the families of components, a family's components, a component's keys.

Summaries come from the components' docstrings, which are read from their files, so that listing a
family imports none of them. Only the keys of a component need its constructor.
"""

import ast
import inspect
import re
import sys
from collections.abc import Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt, MaxLen, MinLen, MultipleOf
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from limbeck.core import plug_ins, registry, wording
from limbeck.core.terminal.shell import command
from limbeck.core.terminal.tables import table

if TYPE_CHECKING:
    from rich.console import RenderableType

# The constructors of these families take what a run gives them: labels, a grid.
FAMILIES_WITHOUT_KEYS = ("ranges", "tasks")

# Columns of a terminal below which a table would break the names in it.
NARROWEST_TABLE = 72

FORMULA = "    "  # the indentation of what a docstring sets apart
# Check -> where it holds its bound, and how that is written.
BOUNDS = (
    (Ge, "ge", ">="),
    (Gt, "gt", ">"),
    (Le, "le", "<="),
    (Lt, "lt", "<"),
    (MultipleOf, "multiple_of", "a multiple of"),
    (MinLen, "min_length", "length >="),
    (MaxLen, "max_length", "length <="),
)
# The beginning of an entry: `- `, or the keys that are explained, "`layers`: ".
ENTRY = re.compile(r"- |`\w+`(, `\w+`)*: ")
# Keys without marks, "steps: ". Any word before a colon looks so where a line happens to begin with
# it, but an explanation begins where the sentence before it has ended.
BARE_ENTRY = re.compile(r"\w+(, \w+)*: ")
ENDS = (".", ":", ";")


def documentation(family: str, name: str) -> str:
    """The module docstring of a component; of the family itself where `name` is `__init__`."""
    path = file(family, name)
    if path is not None:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        return (ast.get_docstring(tree) or "").strip()
    # A plug-in of another package: where its file lies is known once it is imported.
    module = sys.modules[registry.load(family, name).__module__]
    return (module.__doc__ or "").strip()


def file(family: str, name: str) -> Path | None:
    """The file of a component of ours; None for that of another package."""
    for folder in registry.folders(family):
        path = folder / f"{registry.file_stem(family, name)}.py"
        if path.is_file():
            return path
    return None


def summary(text: str) -> str:
    """The first clause of a docstring."""
    paragraph = " ".join(text.split("\n\n")[0].split())
    # A clause ends at a full stop, a colon or a bracket; "et al." ends none.
    return re.split(r"(?<! al)[.:](?:\s|$)| \(", paragraph, maxsplit=1)[0]


def families() -> list["RenderableType"]:
    """Every family with its components."""
    rows = []
    for family in registry.FAMILIES:
        names = ", ".join(registry.names(family))
        rows.append((family, summary(documentation(family, "__init__")), names))
    return [
        *listing(("family", "what", "components"), rows),
        *plug_ins.strays(registry.FAMILIES),
        "\nlimbeck list FAMILY says what each does, limbeck list FAMILY NAME what keys it takes",
    ]


def family(name: str) -> list["RenderableType"]:
    """A family's components with their summaries. Raises ValueError for an unknown family."""
    if name not in registry.FAMILIES:
        told = f"no family `{name}`. "
        # Who knows a component's name need not know its family.
        holding = [each for each in registry.FAMILIES if name in registry.names(each)]
        if holding:
            lines = " or ".join(f"`{command('list', each, name)}`" for each in holding)
            told += f"It is a component: {lines}. "
        raise ValueError(told + wording.suggest(name, registry.FAMILIES))
    rows = [(each, summary_of(name, each)) for each in registry.names(name)]
    return listing((name, "what it does"), rows)


def summary_of(family: str, name: str) -> str:
    """What a component does; why it cannot be used where it is a plug-in that is broken."""
    try:
        return summary(documentation(family, name))
    except ModuleNotFoundError as error:
        return f"cannot be used: {wording.needs_package('it', str(error.name))}"
    except ValueError as error:
        return f"cannot be used: {error}"


def listing(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list["RenderableType"]:
    """A table; in a narrow terminal each row's first cell as a title, and the others below it."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    if Console().width >= NARROWEST_TABLE:
        return [table(head, rows)]
    parts: list[RenderableType] = []
    for title, *cells in rows:
        parts.append(Text(title))
        parts += [Padding(Text(cell), (0, 0, 0, 2)) for cell in cells if cell]
    return parts


def component(family_name: str, name: str) -> list["RenderableType"]:
    """What a component does (formula, paper) and its keys. Raises ValueError for an unknown one."""
    family(family_name)
    described = registry.load(family_name, name)
    parts: list[RenderableType] = [
        f"{family_name}/{name}\n",
        reflowed(documentation(family_name, name)),
    ]
    # A class that was made in an interpreter lies in no file.
    path = file(family_name, name) or sys.modules[described.__module__].__dict__.get("__file__")
    code = [f"\nIts code: {path}"] if path else []
    if family_name in FAMILIES_WITHOUT_KEYS:
        return [*parts, *code]
    rows = []
    for key, parameter in registry.keys(family_name, name).items():
        rows.append((key, kind(parameter), default(parameter)))
    # Of a component without keys the class's docstring is for readers of its code.
    if not rows:
        return [*parts, "\nIt has no keys: name it alone.", *code]
    parts += ["\n" + reflowed(text) for text in key_documentation(described)]
    return [*parts, *listing(("key", "type", "default"), rows), *code]


def key_documentation(described: type) -> list[str]:
    """The docstring of a component's class, and of the classes that it has keys from."""
    # A plug-in's component may be any callable that makes one.
    bases = described.__mro__[1:] if isinstance(described, type) else ()
    sharing = [base for base in bases if is_dataclass(base)]
    return [inspect.getdoc(each) or "" for each in (described, *sharing)]


def reflowed(text: str) -> str:
    """A docstring with each paragraph on one line, for a terminal of any width to break.

    Formulas and tables (indented by four) stay as they are. An entry of a list, and the text on a
    key that begins with its name, begin a line.
    """
    lines: list[str] = []
    for line in text.splitlines():
        # A formula ends a paragraph, and no line goes on with it.
        is_formula = line.startswith(FORMULA)
        follows_text = bool(lines) and lines[-1] != "" and not lines[-1].startswith(FORMULA)
        is_bare = BARE_ENTRY.match(line) is not None and bool(lines) and lines[-1].endswith(ENDS)
        is_entry = ENTRY.match(line) is not None or is_bare
        begins = is_formula or not line.strip() or is_entry
        if follows_text and not begins:
            lines[-1] += " " + line.strip()
        else:
            lines.append(line.rstrip())
    return "\n".join(lines)


def kind(parameter: inspect.Parameter) -> str:
    """A key's type as Python writes it, with the bounds that `Annotated` adds.

    >>> by_name = inspect.Parameter.KEYWORD_ONLY
    >>> kind(inspect.Parameter("width", by_name, annotation=Annotated[int, Ge(1)]))
    'int, >= 1'
    """
    annotation = parameter.annotation
    checks: list[Any] = []
    if get_origin(annotation) is Annotated:
        annotation, *added = get_args(annotation)
        for each in added:
            # pydantic's `Field`, and groups such as `Interval`, hold the checks they stand for.
            held = each.metadata if isinstance(each, FieldInfo) else [each]
            checks += list(each) if isinstance(each, GroupedMetadata) else held
    name = inspect.formatannotation(annotation).replace("typing.", "")
    return ", ".join([name, *filter(None, map(bound, checks))])


def bound(check: object) -> str:
    """A check of a key's value in a few symbols; nothing for one that has none."""
    for kind_of_check, field, sign in BOUNDS:
        if isinstance(check, kind_of_check):
            return f"{sign} {getattr(check, field)}"
    return ""


def default(parameter: inspect.Parameter) -> str:
    """A key's default, or that there is none."""
    if parameter.default is parameter.empty:
        return "required"
    # As a recipe would write it: an Enum by its value.
    return repr(to_jsonable_python(parameter.default))
