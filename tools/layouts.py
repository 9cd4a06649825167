"""Write the table of the layouts that `limbeck init` knows into docs/guide.md: python tools/layouts.py.

Each of `tests/layouts.py` is made in a folder and looked at.
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from layouts import LAYOUTS, Layout  # noqa: E402 - the tests are no package
from marked_page import page_with as page_with  # noqa: E402
from marked_page import write  # noqa: E402

from limbeck.cli.first_recipe import look as starter  # noqa: E402

PAGE = ROOT / "docs" / "guide.md"
BEGIN = "<!-- made by tools/layouts.py: begin -->"
END = "<!-- made by tools/layouts.py: end -->"


def made(layout: Layout, folder: Path) -> Path:
    """The folder with the files of a layout."""
    for name, content in layout.files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def generated() -> str:
    """The table, between its marks."""
    lines = [BEGIN, "", "| data | task | source | keys beside `path` |", "|---|---|---|---|"]
    for layout in LAYOUTS:
        with tempfile.TemporaryDirectory() as folder:
            guess = starter.look(made(layout, Path(folder)) / layout.data)
        keys = ", ".join(f"`{key}`" for key in guess.options)
        lines.append(f"| {layout.name} | `{guess.task}` | `{guess.source}` | {keys} |")
    return "\n".join([*lines, "", END])


if __name__ == "__main__":
    write(PAGE, generated())
