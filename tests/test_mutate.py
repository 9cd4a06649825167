"""Each mutation of tools/mutate.py stands once in the file that it names; its tests exist."""

from tool import load_tool


def test_mutations_stand_in_their_files() -> None:
    script = load_tool("mutate")
    gone = []
    for mutation in script.MUTATIONS:
        source = (script.ROOT / "src" / "limbeck" / mutation.file).read_text(encoding="utf-8")
        tests = [script.ROOT / name for name in mutation.tests.split()]
        if source.count(mutation.before) != 1 or not all(path.is_file() for path in tests):
            gone.append(f"{mutation.file}: {mutation.what}")
    assert not gone
