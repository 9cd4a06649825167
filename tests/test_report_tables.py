"""`limbeck report`: tables as csv and JSON, several runs beside each other, and what it says otherwise."""

import csv
import json
import webbrowser
from pathlib import Path
from typing import Any

import pytest

from limbeck.cli import main
from limbeck.core.files import write_json
from limbeck.reports import comparison, tables
from limbeck.reports.typed import Report

Json = dict[str, Any]


def report(score: float = 0.9, *, kept: bool = True) -> Json:
    """One of a teacher and a distilled model; its labels need quotes in a csv."""

    def arm(accuracy: float, size: int, ms: float) -> Json:
        row = {"label": 'a, "b"', "precision": 1.0, "recall": 0.5, "f1": 0.667, "support": 7}
        return {
            "seeds": [{"seed": 0, "metrics": {"accuracy": accuracy}, "per_label": [row]}],
            "mean": {"accuracy": accuracy},
            "ci95": {"accuracy": [accuracy - 0.05, accuracy + 0.05]},
            "parameters": 1000,
            "bytes": size,
            "agreement": 0.95,
            "latency_ms": {"ms": ms, "p50": ms, "p99": 2 * ms, "runtime": "x", "threads": 1},
        }

    gain = {"name": "teacher", "arm": "kd", "control": "plain", "gain": 0.1, "at_chance": False}
    verdict = {"kept": kept, "drop": 0.02, "speedup": 4.0, "compression": 10.0, "reasons": []}
    return {
        "schema": 2,
        "name": "some run",
        "task": "text-classification",
        "metric": {"name": "accuracy", "higher_is_better": True},
        "arms": {"teacher": arm(0.92, 10_000, 4.0), "kd": arm(score, 1000, 1.0)},
        "verdict": {**verdict, "gains": [{**gain, "ci95": [0.05, 0.15]}]},
        "parity": [],
        "stages": [{"name": "teacher", "seconds": 2.0, "peak_rss_mb": 100.0, "reused": False}],
        "lost": {
            "changed": [
                {
                    "row": 3,
                    "right": "teacher",
                    "text": "hm",
                    "thumbnail": "x",
                    "answers": [
                        {"given": "a", "student": "b"},
                        {"given": ["a", "b"], "student": []},
                    ],
                }
            ],
            "slices": [{"by": "label", "value": "a", "drop": 0.1, "ci95": [-0.1, 0.3]}],
        },
        "layers": {"layers": [{"name": "head", "weight_db": 40.0, "input_range": [-1.0, 2.0]}]},
        "recipe": "data: {source: csv, path: intents}",
    }


def test_tables_hold_single_values_and_both_ends_of_intervals() -> None:
    found = tables.tables(report())
    assert set(found) == {
        "arms",
        "seeds",
        "labels",
        "gains",
        "stages",
        "changed_rows",
        "lost_kinds",
        "layers",
    }
    for rows in found.values():
        assert not any(isinstance(value, list | dict) for row in rows for value in row.values())
    kd = found["arms"][1]
    assert (kd["arm"], kd["accuracy"], kd["bytes"]) == ("kd", 0.9, 1000)
    assert [kd["accuracy_low"], kd["accuracy_high"]] == pytest.approx([0.85, 0.95])
    assert kd["latency_p99"] == 2.0
    assert found["gains"][0]["ci95_low"] == 0.05
    row = {"row": 3, "right": "teacher", "text": "hm"}
    assert found["changed_rows"] == [
        row | {"given": "a", "student": "b"},
        row | {"given": "a, b", "student": "none"},
    ]
    assert found["layers"] == [
        {"name": "head", "weight_db": 40.0, "input_range_low": -1.0, "input_range_high": 2.0}
    ]


def test_the_whole_confusion_is_a_table() -> None:
    own = report()
    matrix = {"labels": ["a", "b"], "counts": [[4, 1], [0, 2]]}
    own["arms"]["kd"]["seeds"][0]["confusion"] = matrix
    assert tables.tables(own)["confusion"] == [
        {"arm": "kd", "label": "a", "answered": "a", "count": 4},
        {"arm": "kd", "label": "a", "answered": "b", "count": 1},
        {"arm": "kd", "label": "b", "answered": "b", "count": 2},
    ]
    assert "confusion" not in tables.tables(report())


def test_a_csv_gives_back_what_the_table_holds(tmp_path: Path) -> None:
    found = tables.tables(report())
    files = tables.write(found, tmp_path)
    assert len(files) == 2 * len(found)
    with open(tmp_path / "labels.csv", newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert [row["label"] for row in read] == ['a, "b"'] * 2
    assert [float(row["recall"]) for row in read] == [0.5, 0.5]
    assert json.loads((tmp_path / "labels.json").read_text()) == found["labels"]


def test_runs_stand_beside_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lone = report(0.8, kept=False)
    lone["verdict"], lone["arms"] = None, {"kd": lone["arms"]["kd"]}
    for name, each in (("first", report()), ("second", report(0.91)), ("lone", lone)):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "report.json", each)
    names = [str(tmp_path / name) for name in ("first", "second", "lone")]
    assert main.exit_status(["report", *names, "--tables", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[1].split()[1:5] == ["accuracy", "0.9200", "kd", "0.9000"]
    assert "KEPT" in told[1]
    # A run without teacher and verdict has dashes, and every column its place.
    assert told[3].split()[2] == "-"
    assert told[3].index("0.8000") == told[1].index("0.9000")
    rows = json.loads((tmp_path / "out" / "runs.json").read_text())
    assert [row["kept"] for row in rows] == [True, True, None]
    assert rows[0]["score_low"] == pytest.approx(0.85)
    # Nothing is drawn of several runs, nor shown that was not drawn.
    assert not (tmp_path / "first" / "report.html").exists()
    assert main.exit_status(["report", *names, "--open"]) == 2
    assert "limbeck report" in capsys.readouterr().err


def test_runs_of_other_data_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = report() | {"recipe": "data: {source: csv, path: others}"}
    for name, each in (("a", report()), ("b", report(0.8)), ("c", other)):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "report.json", each)
    assert main.exit_status(["report", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "other data" not in capsys.readouterr().err
    assert main.exit_status(["report", str(tmp_path / "a"), str(tmp_path / "c")]) == 0
    assert "the runs are of other data" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [{}, [], None, {"schema": 1}, {"schema": 3}]
    + [report() | {key: 5} for key in ("arms", "verdict", "lost", "layers", "parity", "stages")],
)
def test_what_is_no_report_is_refused(
    content: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ended in a traceback, and in the status of a verdict that failed."""
    (tmp_path / "report.json").write_text(json.dumps(content))
    assert main.exit_status(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("limbeck: ")


def test_a_page_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from limbeck.cli.report import open_pages

    (tmp_path / "report.html").write_text("a page")
    shown: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: bool(shown.append(address)) or True)
    open_pages([tmp_path])
    assert shown == [(tmp_path / "report.html").as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    with pytest.raises(ValueError, match="no browser is known here"):
        open_pages([tmp_path])


def test_a_report_in_a_notebook() -> None:
    own = Report(report() | {"name": "<b>mine"})
    html = own._repr_html_()
    assert "<b>&lt;b&gt;mine</b>" in html
    assert "<th>kd</th><td>0.9000</td><td>0.8500 to 0.9500</td><td>1,000</td><td>1.0</td>" in html
    with pytest.raises(ValueError, match=r"no table `arm`. It has arms, changed_rows, gains"):
        own.to_dataframe("arm")
    pandas = pytest.importorskip("pandas")
    frame = own.to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.set_index("arm").loc["kd", "accuracy"] == 0.9
    assert len(own.to_dataframe("seeds")) == 2


def test_the_table_is_as_wide_as_its_values() -> None:
    rows = comparison.compared({"a run": report(), "another, longer run": report(0.95)})
    head, *lines = comparison.lines(rows)
    assert head.split("  ")[0] == "run"
    places = {line.index("accuracy") for line in lines}
    assert places == {head.index("metric")}
