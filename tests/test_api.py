"""What `import limbeck` offers, and the report with attributes."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tool import load_tool

import limbeck
from limbeck.core.files import write_json
from limbeck.reports.typed import Report

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
ARM = {
    "mean": {"accuracy": 0.9},
    "ci95": {"accuracy": [0.8, 0.95]},
    "seeds": [{"seed": 0}],
    "parameters": 7,
    "bytes": 11,
    "latency_ms": {"p50": 1.5},
    "agreement": None,
}
VERDICT = {
    "kept": False,
    "reasons": ["slow"],
    "drop": 0.01,
    "drop_ci95": [0.0, 0.02],
    "max_drop": 0.05,
    "p_noninferior": 0.03,
    "speedup": 0.5,
    "compression": 4.0,
    "gains": [{"name": "joint", "gain": 0.1, "ci95": [0.05, 0.2]}],
}
PARITY = {"arm": "joint", "seed": 3, "runtime": "onnxruntime", "units": 60, "flips": 1}
CONTENT = {
    "schema": 2,
    "name": "first",
    "task": "text-classification",
    "metric": {"name": "accuracy", "higher_is_better": True},
    "arms": {"teacher": ARM | {"bytes": 44}, "joint": ARM},
    "verdict": VERDICT,
    "parity": [PARITY | {"agreement": 0.98, "metric_difference": 0.01, "holds": True}],
    "notes": ["warning: few rows"],
}


def test_dir_lists_what_is_public_and_the_page_tells_of_it() -> None:
    names = dir(limbeck)
    assert names == sorted({*limbeck.__all__, "__version__"})
    told = PAGE.read_text()
    for name in limbeck.__all__:
        assert re.search(rf"limbeck\.{name}\b", told), name
    with pytest.raises(AttributeError, match="`limbeck` has no `lod`; it has Own, check"):
        limbeck.lod  # noqa: B018


def test_the_reference_is_what_the_docstrings_say() -> None:
    script = load_tool("api_reference")
    text = PAGE.read_text()
    block = script.generated()
    assert script.page_with(text, block) == text, "it is old: run `python tools/api_reference.py`"
    for name in limbeck.__all__:
        assert f"### limbeck.{name}\n" in block
    # Examples are closed, and the arguments of `run` stand one a line with their types.
    assert block.count("```") % 2 == 0
    assert "    rows: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,\n" in block
    assert "- `models`, `rows`: as `run` takes them.\n" in block.replace("`recipe`, ", "")
    assert "| `kept` | `bool \\| None` | Whether the student is kept; None without" in block


def test_a_report_has_attributes_and_stays_what_it_was(tmp_path: Path) -> None:
    write_json(tmp_path / "report.json", CONTENT)
    report = limbeck.read_report(tmp_path)
    assert report == CONTENT
    assert json.loads(json.dumps(report)) == CONTENT
    assert report.verdict is not None
    assert (report.kept, report.verdict.kept, report.verdict.reasons) == (False, False, ["slow"])
    assert (report.verdict.speedup, report.verdict.gains[0]["ci95"]) == (0.5, [0.05, 0.2])
    assert (report.task, report.metric, report.notes) == (
        "text-classification",
        "accuracy",
        ["warning: few rows"],
    )
    assert (report.arms["joint"].bytes, report.arms["teacher"].bytes) == (11, 44)
    assert report.arms["joint"].ci95["accuracy"] == [0.8, 0.95]
    (parity,) = report.parity
    assert (parity.runtime, parity.seed, parity.flips, parity.holds) == ("onnxruntime", 3, 1, True)
    assert repr(report) == "<limbeck report first: text-classification, teacher, joint; NOT KEPT>"
    assert str(report) == repr(report)


def test_a_report_without_a_verdict() -> None:
    report = Report(CONTENT | {"verdict": None})
    assert (report.verdict, report.kept) == (None, None)
    assert repr(report).endswith("; no verdict>")
    kept = Report(CONTENT | {"verdict": VERDICT | {"kept": True}})
    assert repr(kept).endswith("; KEPT>")


def test_a_folder_without_a_report_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no report.json here. `limbeck run RECIPE --out"):
        limbeck.read_report(tmp_path)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: limbeck.load("a", threads="2"), "threads: a whole number of 1 or more is expected, and not a str"),
        (lambda: limbeck.load("a", threads=True), "threads: .* and not a bool"),
        (lambda: limbeck.load(None), "folder: the path of an artifact is expected, and not None"),
        (lambda: limbeck.read(3), "path: the path of a recipe is expected, and not an int"),
        (lambda: limbeck.parse({"task": "x"}), "text: a recipe as YAML text is expected, and not a dict"),
        (lambda: limbeck.parse("{}", overrides="train.epochs=2"), r"overrides: a list such as .* and not a str"),
    ],
)  # fmt: skip
def test_an_argument_of_another_type_is_named(call: Callable[[], object], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        call()


def test_no_threads_are_refused() -> None:
    with pytest.raises(
        ValueError, match="threads: a whole number of 1 or more is expected, and not 0"
    ):
        limbeck.load("a", threads=0)


def test_a_report_is_read_by_its_file_too(tmp_path: Path) -> None:
    write_json(tmp_path / "report.json", {"schema": 2, "arms": {}})
    assert limbeck.read_report(tmp_path / "report.json") == limbeck.read_report(tmp_path)
