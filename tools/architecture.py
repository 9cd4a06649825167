"""Draw the house: `python tools/architecture.py` writes the picture and the table of
docs/architecture.md from the code.

The picture is the rooms (folders of src/limbeck) as they import one another, with every arrow that
follows from two
others left out; the table is what each room says of itself. A test keeps the page as this script
would write it.
"""

import ast
from pathlib import Path

from marked_page import page_with as page_with
from marked_page import write

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "limbeck"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN = "<!-- made by tools/architecture.py: begin -->"
END = "<!-- made by tools/architecture.py: end -->"
# From the ground up; the order that import-linter keeps (pyproject.toml).
GROUND = ("core", "sources", "tasks", "recipe", "evaluation", "artifact", "server", "reports")
UPPER = (
    "baselines", "models", "data", "losses", "surgeries", "distillation", "quantization",
    "training", "exporters", "analysis", "pipeline", "studies", "cli",
)  # fmt: skip


def rooms_imported(room: str) -> set[str]:
    """The other rooms that the files of a room import."""
    found = set()
    for path in (PACKAGE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
                found |= {name.split(".")[1] for name in names if name.startswith("limbeck.")}
    return (found & {*GROUND, *UPPER}) - {room}


def without_detours(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """The arrows that do not follow from two or more others."""

    def reachable(room: str, seen: set[str]) -> set[str]:
        for other in arrows[room] - seen:
            seen.add(other)
            reachable(other, seen)
        return seen

    return {
        room: {
            other
            for other in others
            if not any(other in reachable(between, set()) for between in others - {other})
        }
        for room, others in arrows.items()
    }


def picture(arrows: dict[str, set[str]]) -> list[str]:
    """The rooms on two floors, as a Mermaid diagram."""
    lines = ["```mermaid", "flowchart TB"]
    for title, rooms in (
        ("upper floor: trains, needs torch", UPPER),
        ("ground floor: answers, never imports torch", GROUND),
    ):
        lines.append(f'  subgraph {title.split(":")[0].split()[0]}["{title}"]')
        lines += [f"    {room}" for room in reversed(rooms)]
        lines.append("  end")
    for room, others in without_detours(arrows).items():
        lines += [f"  {room} --> {other}" for other in sorted(others)]
    return [*lines, "```"]


def table() -> list[str]:
    """What each room, and each folder within, says of itself, and how many files it has."""
    lines = ["| room | files | what is in it |", "|---|---|---|"]
    for room in reversed(GROUND + UPPER):
        inits = sorted((PACKAGE / room).rglob("__init__.py"), key=lambda init: init.parent)
        for init in inits:
            said = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
            first = " ".join(said.split("\n\n")[0].split())
            count = len(list(init.parent.glob("*.py"))) - 1
            name = init.parent.relative_to(PACKAGE).as_posix()
            lines.append(f"| `{name}/` | {count} | {first} |")
    return lines


def generated() -> str:
    """What stands between the two marks of the page."""
    arrows = {room: rooms_imported(room) for room in GROUND + UPPER}
    total = sum(map(len, arrows.values()))
    count = f"{len(arrows)} rooms, {total} arrows between them, all downwards (those that follow from others are not drawn)."
    return "\n".join([BEGIN, "", *picture(arrows), "", count, "", *table(), "", END])


if __name__ == "__main__":
    write(PAGE, generated())
