"""docs/architecture.md shows the house as it is, and its table names files that are there."""

import re
from pathlib import Path

from tool import load_tool

from limbeck.core.registry import FAMILIES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGE = ROOT / "src" / "limbeck"
# About a dozen files can be held in mind.
MOST_FILES = 14


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


def test_a_room_is_about_a_dozen_files_beside_its_components_and_verbs() -> None:
    families = {PACKAGE / package.replace(".", "/") for package in FAMILIES.values()}
    for init in PACKAGE.rglob("__init__.py"):
        room = init.parent
        names = {path.stem for path in room.glob("*.py")} - {"__init__", "__main__"}
        if room in families:
            # A component is a file by its name; what several share begins with a line.
            names = {name for name in names if name.startswith("_")}
        if room.name == "cli":
            names -= verb_names()
        assert len(names) <= MOST_FILES, f"{room.relative_to(ROOT)}: {len(names)} files"


def verb_names() -> set[str]:
    """The files of the verbs, as the command line's table has them."""
    table = (PACKAGE / "cli" / "main.py").read_text(encoding="utf-8").split("VERBS", 1)[1]
    return set(re.findall(r'^    "(\w+)":', table.split("}", 1)[0], re.MULTILINE))
