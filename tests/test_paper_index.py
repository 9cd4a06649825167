"""docs/paper_index.md names every paper that the code cites, with its authors."""

from tool import load_tool


def test_the_index_is_what_the_script_writes() -> None:
    script = load_tool("paper_index")
    text = script.PAGE.read_text(encoding="utf-8")
    assert script.page() == text, "the index is old: run `python tools/paper_index.py`"
    unnamed = [number for number, (words, _) in script.citations().items() if not words]
    assert not unnamed, "cite a paper once as `Authors, year, arXiv NUMBER`"
