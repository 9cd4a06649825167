"""What a recipe can name: families, components, their keys, as tables, straight from the components' docstrings and constructors.

Docstrings are read from the files, so that no component is imported to be listed; only its keys need its constructor. Torch-free.
"""

import ast
import inspect
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, get_args, get_origin

from limbeck.core import registry, wording

if TYPE_CHECKING:
    from rich.console import RenderableType


def documentation(family: str, name: str) -> str:
    """The module docstring of a component; of the family itself where `name` is `__init__`."""
    for folder in registry.folders(family):
        path = folder / f"{name.replace('-', '_') if family == 'tasks' else name}.py"
        if path.is_file():
            return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").strip()
    return (sys.modules[registry.load(family, name).__module__].__doc__ or "").strip()


def summary(text: str) -> str:
    """The first clause of a docstring."""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<! al)[.:](?:\s|$)| \(", paragraph, maxsplit=1)[0]


def families() -> list["RenderableType"]:
    """Every family with its components."""
    rows = [
        (family, summary(documentation(family, "__init__")), ", ".join(registry.names(family)))
        for family in registry.FAMILIES
    ]
    return [
        table(("family", "what", "components"), rows),
        "\nlimbeck list FAMILY says what each does, limbeck list FAMILY NAME what keys it takes",
    ]


def family(name: str) -> list["RenderableType"]:
    """A family's components with their summaries. Raises ValueError for a family that is none."""
    if name not in registry.FAMILIES:
        raise ValueError(f"no family `{name}`. {wording.suggest(name, registry.FAMILIES)}")
    return [
        table(
            (name, "what it does"),
            [(each, summary(documentation(name, each))) for each in registry.names(name)],
        )
    ]


def component(family_name: str, name: str) -> list["RenderableType"]:
    """What one component does (formula, paper) and its keys. Raises ValueError for one that is not there."""
    family(family_name)
    described = registry.load(family_name, name)
    rows = [
        (key, kind(parameter), default(parameter))
        for key, parameter in registry.keys(family_name, name).items()
    ]
    if family_name in ("ranges", "tasks"):  # their arguments come from the run
        rows = []
    text = [
        f"{family_name}/{name}\n",
        documentation(family_name, name),
        "\n" + (inspect.getdoc(described) or ""),
    ]
    return [*text, *([table(("key", "type", "default"), rows)] if rows else [])]


def kind(parameter: inspect.Parameter) -> str:
    """A key's type, as Python writes it, without its checks."""
    annotation = parameter.annotation
    plain = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return inspect.formatannotation(plain).replace("typing.", "")


def default(parameter: inspect.Parameter) -> str:
    """A key's default, or that there is none."""
    return "required" if parameter.default is parameter.empty else repr(parameter.default)


def table(
    head: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, numbers: int = sys.maxsize
) -> "RenderableType":
    """Rows of text below a head, without a frame; the columns from `numbers` on are set to the right, and close."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(*head, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=numbers < len(head))
    for column in table.columns[numbers:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*map(Text, row))  # as it is: a docstring's [brackets] are no markup
    return table
