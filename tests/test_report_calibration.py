"""`calibration` of a report: its sentences, its charts, and a page with and without it."""

import copy
from pathlib import Path
from typing import Any

import pytest
from test_report import a_report as sample

from limbeck.reports import calibration, page, summary

BINS = [
    {"probability": 0.6, "share": 0.6, "count": 20},
    {"probability": 0.8, "share": 0.75, "count": 20},
    {"probability": 0.95, "share": 1.0, "count": 20},
]
MODEL = {"ece": 0.02, "ece_ci95": [0.01, 0.05], "perfect_p95": 0.03, "nll_nats": 0.4, "bins": BINS}
TEST = {
    "rows": 60,
    "answered": 45,
    "errors": 1,
    "coverage": 0.75,
    "error": 1 / 45,
    "error_low": 0.001,
}
PROMISE = {
    "max_error": 0.05,
    "confidence": 0.95,
    "threshold": 0.83,
    "rows": 200,
    "answered": 150,
    "errors": 2,
    "upper": 0.042,
    "needed": 59,
    "test": TEST,
    "is_broken": False,
}
FOUND: dict[str, Any] = {
    "arm": "joint",
    "metric": "accuracy",
    "of": "rows",
    "inputs": 200,
    "temperature": 1.3125,
    "bias": None,
    "models": {"float": MODEL, "raw": MODEL | {"ece": 0.08}, "fitted": MODEL},
    "per_label": None,
    "answers": None,
    "promise": PROMISE,
    "sets": None,
    "shift": {"p_labels": 0.001, "p_confidence": 0.4, "words": "labels are shared out otherwise"},
    "coverage": [
        {"threshold": 0.9, "coverage": 0.5, "error": 0.0},
        {"threshold": 0.1, "coverage": 1.0, "error": 0.2},
    ],
    "cascade": [
        {
            "threshold": level,
            "coverage": 1 - part,
            "metrics": {"accuracy": 0.8 + part / 10},
            "ms": 1 + 9 * part,
        }
        for level, part in ((0.0, 0.0), (0.5, 0.5), (None, 1.0))
    ],
}


def test_the_sentences_say_what_was_reached() -> None:
    told = calibration.sentences(FOUND)
    assert told == [
        "calibration: ECE 0.0200 of the probabilities of rows (before fitting 0.0800), within what a perfectly calibrated model may have here (0.0300); temperature 1.31",
        "promise: at most 0.05 of the answers is wrong (95% confidence; 2 of 150 kept rows are). On test 75.0% of the rows are answered, 0.0222 of them wrongly. But test is not drawn as validation: labels are shared out otherwise",
    ]
    assert calibration.sentences(None) == []
    above = FOUND | {"models": FOUND["models"] | {"fitted": MODEL | {"ece": 0.04}}, "bias": [0.1]}
    assert "above what a perfectly" in calibration.sentences(above)[0]
    assert calibration.sentences(above)[0].endswith(", with biases")
    few = calibration.sentences(FOUND | {"inputs": 3})[0]
    assert few.endswith("nothing was fitted: 3 inputs of validation differ, and 20 are needed")
    none = FOUND | {"promise": PROMISE | {"threshold": None}}
    assert calibration.sentences(none)[1] == (
        "promise: none. That at most 0.05 of the answers is wrong cannot be shown; 59 answered rows without an error would do"
    )


def test_sets_and_answers_have_their_sentence() -> None:
    sets = {
        "coverage": 0.9,
        "test": {"rows": 60, "missed": 5, "coverage": 55 / 60, "mean_size": 1.25, "one_label": 0.8},
    }
    answers = {
        "most_probable": {"accuracy": 0.9, "auc": 0.95},
        "as_answered": {"accuracy": 0.85, "auc": 0.95},
        "cost_most_probable": 2.0,
        "cost_as_answered": 0.5,
    }
    told = calibration.sentences(
        FOUND | {"promise": None, "sets": sets, "shift": None, "answers": answers}
    )
    assert told[1:] == [
        "sets: 90% were to hold the true label, on test 91.7% do; 1.25 labels in the mean, one alone in 80.0%",
        "answers: accuracy 0.9000 to 0.8500; mean cost 2 to 0.5; before: the most probable labels of the graph",
    ]


def test_what_is_perfect_lies_on_the_diagonal_of_the_diagram() -> None:
    drawn = calibration.diagram({"fitted": MODEL})
    start, end = drawn["diagonal"][1:].split("L")
    assert start == "44 176" and end == "348 10"
    (line,) = drawn["lines"]
    (x, y), (over_x, over_y), (under_x, under_y) = line["dots"]

    def height(x: float) -> float:
        return 176 + (x - 44) / (348 - 44) * (10 - 176)

    assert y == pytest.approx(height(x), abs=0.2)
    # Higher on the page is less of y: too sure lies below the diagonal, too unsure above.
    assert over_y > height(over_x) and under_y < height(under_x)


def test_the_other_charts_hold_what_was_promised_and_both_ends() -> None:
    (drawn,) = calibration.coverage(FOUND)
    assert drawn["diagonal"] and drawn["lines"][0]["dots"][0][0] < drawn["lines"][0]["dots"][1][0]
    assert calibration.coverage(FOUND | {"promise": None})[0]["diagonal"] is None
    assert calibration.coverage(FOUND | {"coverage": []}) == []
    (cascade,) = calibration.cascade(FOUND)
    assert cascade["title"] == "Cascade: accuracy" and len(cascade["lines"][0]["dots"]) == 3
    assert calibration.cascade(FOUND | {"cascade": None}) == []


def test_the_page_and_the_terminal_have_it_where_it_is_there() -> None:
    with_it = copy.deepcopy(sample()) | {"calibration": FOUND}
    text = page.render(with_it, [])
    assert "<h2>Calibration</h2>" in text and "Reliability: share that is right" in text
    assert "artifact, as its graph says" in text
    without = copy.deepcopy(sample())
    without.pop("calibration", None)
    assert "<h2>Calibration</h2>" not in page.render(without, [])
    labels = [{"label": f"l{n}", "ece_raw": 0.2, "ece_fitted": n / 100} for n in range(20)]
    several = page.render(with_it | {"calibration": FOUND | {"per_label": labels}}, [])
    assert "furthest off" in several and ">l19<" in several and ">l2<" not in several

    lines = summary.lines(with_it | {"parity": []}, Path("out"))
    assert any(line.startswith("calibration: ECE") for line in lines)
