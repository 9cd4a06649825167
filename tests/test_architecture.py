"""docs/architecture.md shows the house as it is, and its table names files that are there."""

import re
from pathlib import Path

from tool import load_tool

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"


def test_the_picture_is_what_the_script_draws() -> None:
    script = load_tool("architecture")
    text = PAGE.read_text(encoding="utf-8")
    told = "the picture is old: run `python tools/architecture.py`"
    assert script.page_with(text, script.generated()) == text, told
    folders = {path.parent.name for path in (ROOT / "src/limbeck").glob("*/__init__.py")}
    assert folders == {*script.GROUND, *script.UPPER}


def test_every_file_that_the_page_names_is_there() -> None:
    for name in re.findall(r"`([a-z_]+/(?:[a-z_]+/)*[a-z_]*(?:\.py)?)`", PAGE.read_text("utf-8")):
        assert (ROOT / "src/limbeck" / name).exists() or (ROOT / name).exists(), name
