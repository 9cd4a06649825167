"""Write the reference in docs/api.md from the docstrings of what is public.

`python tools/api_reference.py`. It reads the source and imports nothing but the list of public
names, so that it needs no torch. A page of Markdown is read where the code is, without a site to
build; `tests/test_api.py` keeps it as the docstrings are.
"""

import ast
import re
from pathlib import Path

from marked_page import page_with as page_with
from marked_page import write

import limbeck

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "api.md"
SOURCE = ROOT / "src" / "limbeck"

BEGIN = "<!-- made by tools/api_reference.py: begin -->"
END = "<!-- made by tools/api_reference.py: end -->"

# What the functions give, in the order in which a reader meets it.
CLASSES = {
    "Report": "reports.typed",
    "VerdictReport": "reports.typed",
    "ArmReport": "reports.typed",
    "ParityReport": "reports.typed",
    "Checked": "pipeline.preflight.check",
    "Problem": "recipe.problems",
    "Cost": "pipeline.preflight.costs",
    "Predictor": "artifact.predictor",
    "Prediction": "artifact.predictions",
    "Predictions": "artifact.predictions",
    "Evaluation": "artifact.evaluating",
    "Exported": "studies.exporting",
    "Arm": "pipeline.arm",
    "Outputs": "models.taps",
    "Started": "core.events",
    "Progress": "core.events",
    "EpochEnded": "core.events",
    "Ended": "core.events",
    "Note": "core.events",
}

# Of classes whose other members serve limbeck itself, what a user needs.
MEMBERS = {
    "Own": ("module", "tokenizer", "version"),
    "Predictor": ("runtime", "folder", "labels", "kind", "predict", "predict_proba"),
    "Checked": ("ok", "mistakes", "problems", "forecast", "lines", "to_json"),
    "Evaluation": (
        *("metric", "metrics", "ci95", "rows", "unknown_labels", "per_label", "to_dataframe"),
    ),
    "Arm": ("recipe", "model", "scored", "artifact", "num_parameters", "num_bytes", "notes"),
    "Problem": ("message", "cause", "cure", "place", "file", "line", "column", "key", "fix"),
}

# The sections of a docstring whose entries are a list.
LISTS = ("Args", "Raises")
SECTION = re.compile(r"(Args|Returns|Raises|Example):$")
# `name: text`, or `first, second: text`.
ENTRY = re.compile(r" {4}(\w+(?:, \w+)*): (.*)")

Function = ast.FunctionDef


def definition(module: str, name: str) -> Function | ast.ClassDef:
    """A function or class of a module of limbeck, as it is written."""
    path = SOURCE.joinpath(*module.split(".")).with_suffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = Function | ast.ClassDef
    found = [node for node in tree.body if isinstance(node, kinds) and node.name == name]
    return found[-1]


def signature(function: Function, called: str, *, is_method: bool = False) -> str:
    """How it is called, with types; a long one has an argument a line."""
    arguments = ast.unparse(function.args)
    if is_method:
        arguments = arguments.removeprefix("self").removeprefix(", ")
    arguments = re.sub(r"(?<=[\w\])])=(?=\S)", " = ", arguments)
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    line = f"{called}({arguments}){returns}"
    if len(line) <= 100:
        return line
    inside = "".join(f"    {part},\n" for part in parted(arguments))
    return f"{called}(\n{inside}){returns}"


def parted(arguments: str) -> list[str]:
    """Arguments one by one; a comma within brackets parts none."""
    parts, depth = [""], 0
    for sign in arguments:
        depth += (sign in "[(") - (sign in "])")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]


def markdown(docstring: str) -> list[str]:
    """A docstring as Markdown: its sections as lists, its examples as they stand."""
    lines: list[str] = []
    section, is_fenced, is_example, is_entry = "", False, False, False
    for line in docstring.splitlines():
        text = line.strip()
        # 1. Examples: fenced ones, and those of doctest with what they print.
        if text.startswith(">>>") and not is_example:
            is_example = True
            lines.append("```")
        if is_example and not text:
            is_example = False
            lines.append("```")
        if text.startswith("```"):
            is_fenced = not is_fenced
            lines.append(text)
        elif is_fenced or is_example:
            lines.append(line if is_fenced else text)
        # 2. Sections, whose entries are indented by four.
        elif found := SECTION.match(text):
            section = found[1]
            lines += [f"**{section}**", ""]
        elif section in LISTS and (entry := ENTRY.match(line)):
            names = ", ".join(f"`{name}`" for name in entry[1].split(", "))
            lines.append(f"- {names}: {entry[2]}")
            is_entry = True
        # 3. All else; what goes on in an entry is indented below it.
        else:
            is_entry = is_entry and bool(text)
            lines.append(f"  {text}" if is_entry else text)
    return [*lines, "```"] if is_example else lines


def of_function(name: str, function: Function) -> list[str]:
    """The entry of a function."""
    text = ast.get_docstring(function) or ""
    fence = ["```", signature(function, f"limbeck.{name}"), "```"]
    return [f"### limbeck.{name}", "", *fence, "", *markdown(text), ""]


def of_class(name: str, found: ast.ClassDef, title: str) -> list[str]:
    """The entry of a class: what it is, its fields, properties and methods."""
    lines = [f"### {title}", "", *markdown(ast.get_docstring(found) or ""), ""]
    shown = MEMBERS.get(name)
    rows, entries = [], []
    for node in found.body:
        member = name_of(node)
        if member.startswith("_") or not member or (shown and member not in shown):
            continue
        if isinstance(node, Function):
            row, entry = of_member(node)
            rows += row
            entries += entry
        elif isinstance(node, ast.AnnAssign):
            rows.append(f"| `{member}` | `{cell(ast.unparse(node.annotation))}` |  |")
    if rows:
        lines += ["| | | |", "|---|---|---|", *rows, ""]
    return lines + entries


def name_of(node: ast.AST) -> str:
    """What a member of a class is called; nothing for what is no member."""
    if isinstance(node, Function):
        return node.name
    is_field = isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    return node.target.id if is_field and "ClassVar" not in ast.unparse(node.annotation) else ""


def of_member(node: Function) -> tuple[list[str], list[str]]:
    """The row of a property or a method, and the entry of a method of which there is more to say;
    neither for one of several signatures."""
    decorators = [ast.unparse(each) for each in node.decorator_list]
    if "overload" in decorators or any("validator" in each for each in decorators):
        return [], []
    text = ast.get_docstring(node) or ""
    first = " ".join(text.split("\n\n")[0].split())
    returns = ast.unparse(node.returns) if node.returns else ""
    if {"property", "cached_property"} & set(decorators):
        return [f"| `{node.name}` | `{cell(returns)}` | {cell(first)} |"], []
    called = signature(node, node.name, is_method=True)
    if "\n\n" in text:
        return [], [f"#### {node.name}", "", "```", called, "```", "", *markdown(text), ""]
    called = called.rpartition(" -> ")[0]
    return [f"| `{cell(called)}` | `{cell(returns)}` | {cell(first)} |"], []


def cell(text: str) -> str:
    """A text in a row of a table."""
    return text.replace("|", "\\|")


def generated() -> str:
    """What stands between the two marks of the page."""
    lines = [BEGIN, "", "## Functions", ""]
    classes: list[str] = []
    for name in limbeck.__all__:
        found = definition(limbeck._MODULES[name], name)
        if isinstance(found, Function):
            lines += of_function(name, found)
        else:
            classes += of_class(name, found, f"limbeck.{name}")
    lines += ["## What they take and give", "", *classes]
    for name, module in CLASSES.items():
        found = definition(module, name)
        assert isinstance(found, ast.ClassDef)
        lines += of_class(name, found, name)
    return "\n".join([*lines, END])


if __name__ == "__main__":
    write(PAGE, generated())
