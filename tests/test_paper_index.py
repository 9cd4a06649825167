"""docs/paper_index.md names every paper that the code cites, with its authors."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_index_is_what_the_script_writes() -> None:
    spec = importlib.util.spec_from_file_location("paper_index", ROOT / "tools/paper_index.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    text = script.PAGE.read_text(encoding="utf-8")
    assert script.page() == text, "the index is old: run `python tools/paper_index.py`"
    unnamed = [number for number, (words, _) in script.citations().items() if not words]
    assert not unnamed, "cite a paper once as `Authors, year, arXiv NUMBER`"
