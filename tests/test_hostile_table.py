"""The guide's table of hostile inputs has a row for each kind that the benchmark tries, and none that went wrong."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def rows() -> dict[str, list[str]]:
    """The cells of each row, by the kind of input."""
    text = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    _, _, rest = text.partition("<!-- made by benchmarks/hostile.py: begin -->")
    table, _, _ = rest.partition("<!-- made by benchmarks/hostile.py: end -->")
    lines = [line for line in table.strip().splitlines() if line.startswith("| ")][1:]
    cells = [line.strip("| ").split(" | ") for line in lines]
    return {row[0]: row for row in cells}


@pytest.mark.usefixtures("benchmark")
def test_every_kind_of_input_stands_in_the_guide() -> None:
    cases = importlib.import_module("hostile_cases")
    kinds = {case.kind for case in cases.all_cases(Path("artifact"), Path("model"))}
    told = "the table is old: run `python benchmarks/hostile.py --write`"
    assert set(rows()) == kinds, told
    for name in ("hostile_cases",):
        sys.modules.pop(name, None)


def test_each_ends_as_it_should_within_the_bounds() -> None:
    for kind, (_, _, status, seconds, megabytes, said) in rows().items():
        assert set(status.split(", ")) <= {"0", "2"}, kind
        assert float(seconds) <= 2, kind
        assert float(megabytes) <= 300, kind
        assert said.strip(), kind
