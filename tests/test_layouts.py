"""Every layout of `layouts.py`: `init` writes a recipe for it that trains the right task, and that `check` accepts."""

from pathlib import Path

import pytest
from layouts import LAYOUTS, Layout
from tool import load_tool

from limbeck.cli import main
from limbeck.recipe.reading import read

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_init_writes_what_check_accepts(
    layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = load_tool("layouts").made(layout, tmp_path / "data")
    out = tmp_path / "recipe.yaml"
    assert main.exit_status(["init", str(folder / layout.data), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    recipe = read(out)
    assert (recipe.task, recipe.data.source) == (layout.task, layout.source), told
    given = recipe.data.options
    assert {key: given.get(key) for key in layout.options} == dict(layout.options), told
    (left,) = [line for line in told.splitlines() if "not read:" in line] or [""]
    assert set(layout.unread) <= set(left.strip().removeprefix("not read: ").split(", "))
    assert main.exit_status(["check", str(out), "--data-only"]) == 0, capsys.readouterr().err


def test_there_are_enough_layouts_of_distinct_names() -> None:
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS) >= 24


def test_the_table_of_the_guide_is_what_the_script_writes() -> None:
    script = load_tool("layouts")
    text = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    told = "the table is old: run `python tools/layouts.py`"
    assert script.page_with(text, script.generated()) == text, told
