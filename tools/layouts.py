"""Write the table of the layouts that `limbeck init` knows into docs/guide.md: python tools/layouts.py.

Each of `tests/layouts.py` is made in a folder and looked at.
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from layouts import LAYOUTS, Layout  # noqa: E402 - the tests are no package

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
    """The table."""
    lines = ["| data | task | source | keys beside `path` |", "|---|---|---|---|"]
    for layout in LAYOUTS:
        with tempfile.TemporaryDirectory() as folder:
            guess = starter.look(made(layout, Path(folder)) / layout.data)
        keys = ", ".join(f"`{key}`" for key in guess.options)
        lines.append(f"| {layout.name} | `{guess.task}` | `{guess.source}` | {keys} |")
    return "\n".join(lines)


def page_with(text: str, table: str) -> str:
    """The page with the table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), generated()), encoding="utf-8")
