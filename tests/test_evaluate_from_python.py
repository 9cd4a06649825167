"""`limbeck.evaluate`: rows and files alike, by the figures of `limbeck evaluate`; what a notebook shows of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from commands import call
from task_examples import TAGS, tokenizer_text
from test_answers import tag_graph, written
from test_artifact import artifact as artifact
from test_artifact import table_runtime as table_runtime
from test_evaluate import CSV

import limbeck
from limbeck.artifact.evaluating import Evaluation
from limbeck.artifact.predictions import Prediction, Predictions, shown
from limbeck.tasks.token_classification import TokenClassification

ROWS = [
    {"text": "New York", "label": "place"},
    {"text": "Ada lives in New York", "label": "person"},
    {"text": "Ada", "label": "person"},
    {"text": "lives", "label": "place"},
    {"text": "York", "label": "place"},
]


def figures(found: Evaluation) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != "source"}


def test_rows_a_frame_a_file_and_the_command_give_one_result(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test.csv").write_text(CSV)
    by_file = limbeck.evaluate(artifact, tmp_path / "test.csv")
    assert call("evaluate", artifact, tmp_path / "test.csv", "--json") == 0
    assert json.loads(capsys.readouterr().out) == by_file
    predictor = limbeck.load(artifact)
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS)
    columns = {name: [row[name] for row in ROWS] for name in ("text", "label")}
    for rows in (ROWS, iter(ROWS), frame, columns):
        found = limbeck.evaluate(predictor, rows, batch_size=2)
        assert figures(found) == figures(by_file)
        assert found["source"] == "rows"
    # 4 of 5 right, and Wilson's interval of scipy (`test_evaluate`).
    assert (found.metric, found.rows, found.unknown_labels) == ("accuracy", 5, {})
    assert found.metrics["accuracy"] == pytest.approx(0.8)
    assert found.ci95["accuracy"] == pytest.approx([0.375535, 0.963776], abs=1e-6)
    assert found.per_label[0]["support"] == 3
    assert repr(found) == "<limbeck evaluation: accuracy 0.8000 [0.3755, 0.9638] on 5 rows>"
    assert found.to_dataframe()["low"][0] == found.ci95["accuracy"][0]  # type: ignore[index]
    assert "<td>0.3755 to 0.9638</td>" in found._repr_html_()
    assert json.loads(json.dumps(found)) == found


def test_columns_are_named_or_those_of_the_recipe(artifact: Path) -> None:
    rows = [{"t": "New York", "y": 0}, {"t": "Ada", "y": 1.0}, {"t": "Ada", "y": "person"}]
    named = {"text": "t", "label": "y"}
    found = limbeck.evaluate(artifact, rows, columns=named)
    assert found.unknown_labels == {"0": 1, "1": 1}
    (artifact / "recipe.yaml").write_text(
        "data: {text: t, label: y, label_names: [place, person]}\n"
    )
    found = limbeck.evaluate(artifact, rows)
    assert (found.metrics["accuracy"], found.unknown_labels) == (1, {})
    # The usual names, where the rows are not those of the recipe.
    assert limbeck.evaluate(artifact, ROWS).metrics["accuracy"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"source": [{"text": "Ada"}]}, r"rows:1: no label in `label`. Leave such rows out"),
        ({"source": [{"label": "place"}]}, r"rows:1: no column of the input. Name it: columns="),
        ({"source": [{"text": 5, "label": "place"}]}, r"rows\['test'\]:1: text: a text is needed"),
        ({"source": ["Ada"]}, "row 1 is 'Ada'; a dict of its cells|row 1 is a str"),
        ({"source": 7}, "rows are needed, a list of dicts or a data frame"),
        ({"source": ROWS, "columns": {"text": "txt"}}, "no column `txt` in these rows. Did you me"),
        ({"source": ROWS, "columns": {"lable": "y"}}, "there is none for `lable`. Did you mean `la"),
        ({"source": ROWS, "on_bad_row": "drop"}, "on_bad_row: write fail or skip, not 'drop'"),
        ({"source": "nowhere.csv"}, "nowhere.csv: no such file or folder"),
        ({"source": "nowhere.csv", "form": "cvs"}, "no such format"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_told(artifact: Path, keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        limbeck.evaluate(artifact, **keys)


def test_bad_rows_are_left_out_and_counted(artifact: Path) -> None:
    rows = [*ROWS, {"text": "Ada"}, {"text": "", "label": "place"}]
    found = limbeck.evaluate(artifact, rows, on_bad_row="skip")
    assert (found.rows, found["bad_rows"]) == (5, 2)
    with pytest.raises(TypeError, match="artifact: an artifact or its folder is expected"):
        limbeck.evaluate(7, rows)  # type: ignore[arg-type]


def test_tags_are_rows_too(tmp_path: Path) -> None:
    tagger = written(TokenClassification(TAGS, tokenizer_text()), tag_graph, tmp_path, "Ada lives")
    rows = [{"words": ["New", "York"], "tags": ["B-LOC", "I-LOC"]}]
    assert limbeck.evaluate(tagger, rows)["units"] == 2
    with pytest.raises(ValueError, match="no label in `tags`"):
        limbeck.evaluate(tagger, [{"words": ["New"]}])


def test_a_prediction_is_a_dict_that_a_notebook_shows(artifact: Path) -> None:
    pytest.importorskip("pandas")
    model = limbeck.load(artifact)
    answer = model.predict("Ada <b>")
    assert isinstance(answer, Prediction) and answer == dict(answer)
    assert json.loads(json.dumps(answer)) == answer
    html = answer._repr_html_()
    assert html.index("0.98") < html.index("0.01") and html.count("<progress") == 2
    many = model.predict(["Ada", "York"] * 15)
    assert isinstance(many, Predictions) and json.loads(json.dumps(many)) == many
    html = many._repr_html_()
    assert html.count("<tr>") == 21 and "and 10 more" in html
    assert list(many.to_dataframe()["label"][:2]) == ["person", "place"]
    assert model.predict([])._repr_html_().count("<tr>") == 1


def test_texts_of_others_are_no_html() -> None:
    answer = Prediction(
        label="<script>", probabilities={"<script>": 1.0}, entities=[{"text": "<i>"}]
    )
    assert "<script>" not in answer._repr_html_() and "<i>" not in answer._repr_html_()
    assert "&lt;script&gt;" in Predictions([answer])._repr_html_()
    assert shown([0.5] * 384) == "[0.5000, 0.5000, 0.5000, ...] (384)"
    assert (shown(["a", "b"]), shown({}), shown(None)) == ("a, b", "{}", "None")


def test_what_is_public_prints_in_a_line() -> None:
    recipe = limbeck.parse("{task: masked-lm, data: {source: text, path: t}, student: {model: m}}")
    assert repr(recipe) == str(recipe) == "<limbeck recipe masked-lm: text; m>"
