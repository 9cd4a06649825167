"""`limbeck evaluate`: the figures of a labelled file by the artifact alone, worked by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call, mistake
from PIL import Image
from task_examples import TAGS, tokenizer_text
from test_answers import PIXELS, image_graph, tag_graph, written
from test_artifact import artifact as artifact
from test_artifact import table_runtime as table_runtime

from limbeck.artifact.evaluate import evaluate, refuse_foreign
from limbeck.artifact.predictor import Predictor
from limbeck.artifact.rows.columns import ColumnFinder
from limbeck.artifact.rows.inputs import Reading
from limbeck.artifact.rows.labelled import Labels, labelled_rows
from limbeck.sources import Row, fail
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.multi_label_classification import MultiLabelClassification
from limbeck.tasks.text_classification import TextClassification
from limbeck.tasks.text_regression import TextRegression
from limbeck.tasks.token_classification import TokenClassification

# The table's answers: place, place, person, place, and place for what it does not know.
CSV = "text,label\nNew York,place\nAda lives in New York,person\nAda,person\nlives,place\nYork,place\n"


def scores(capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    assert call("evaluate", *arguments, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_csv_is_scored_as_a_verdict_scores(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test.csv").write_text(CSV)
    found = scores(capsys, artifact, tmp_path / "test.csv")
    assert (found["rows"], found["metric"], found["unknown_labels"]) == (5, "accuracy", {})
    # 4 of 5 right; F1 of place 6/7, of person 2/3.
    assert found["metrics"]["accuracy"] == pytest.approx(4 / 5)
    assert found["metrics"]["macro_f1"] == pytest.approx((6 / 7 + 2 / 3) / 2)
    assert found["confusion"] == {"labels": ["place", "person"], "counts": [[3, 0], [1, 1]]}
    assert found["chance"] == pytest.approx(3 / 5)
    assert [row["support"] for row in found["per_label"][:2]] == [3, 2]
    # By scipy.stats.binomtest(4, 5).proportion_ci(method="wilson").
    assert found["ci95"]["accuracy"] == pytest.approx([0.375535, 0.963776], abs=1e-6)
    assert scores(capsys, artifact, tmp_path / "test.csv", "--batch", 4) == found


def test_labels_that_the_artifact_lacks_are_errors_and_told(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test.csv").write_text(CSV + "Ada Ada,animal\nin,animal\n.,places\n")
    found = scores(capsys, artifact, tmp_path / "test.csv")
    assert found["unknown_labels"] == {"animal": 2, "places": 1}
    assert found["metrics"]["accuracy"] == pytest.approx(4 / 8)
    rows = {row["label"]: row for row in found["per_label"]}
    assert (rows["animal"]["recall"], rows["animal"]["support"]) == (0, 2)
    assert call("evaluate", artifact, tmp_path / "test.csv") == 0
    told = capsys.readouterr().out
    assert "does not have, which count as errors: animal (2), places (1; near: place)" in told
    assert "it has place, person: write these where another name is meant" in told
    assert "accuracy" in told and "0.5000" in told and "macro average" in told


def test_bad_rows_end_it_or_are_left_out(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test.csv").write_text(CSV + "Ada\n,place\nAda,\n")
    told = mistake(capsys, "evaluate", artifact, tmp_path / "test.csv")
    assert "test.csv:7: 1 columns, but the header has 2" in told
    found = scores(capsys, artifact, tmp_path / "test.csv", "--on-bad-row", "skip")
    assert (found["rows"], found["bad_rows"]) == (5, 3)
    assert "write fail or skip" in mistake(
        capsys, "evaluate", artifact, tmp_path / "test.csv", "--on-bad-row", "drop"
    )
    (tmp_path / "no.csv").write_text("text,other\nAda,person\n")
    assert "no column of the label here" in mistake(
        capsys, "evaluate", artifact, tmp_path / "no.csv"
    )
    assert scores(capsys, artifact, tmp_path / "no.csv", "--label", "other")["rows"] == 1
    (tmp_path / "empty.csv").write_text("text,label\n")
    assert "no row to evaluate" in mistake(capsys, "evaluate", artifact, tmp_path / "empty.csv")


def test_numbers_and_names_of_labels_are_one(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (artifact / "recipe.yaml").write_text(
        "data: {text: t, label: y, label_names: [place, person]}\n"
    )
    rows = [{"t": "New York", "y": 0}, {"t": "Ada", "y": 1.0}, {"t": "Ada", "y": "person"}]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = scores(capsys, artifact, tmp_path / "test.jsonl")
    assert (found["metrics"]["accuracy"], found["unknown_labels"]) == (1, {})


def rows_of(predictor: Predictor, path: Path, likelihood: str) -> tuple[list[Row], Labels]:
    labels = Labels(predictor.labels, predictor.kind, likelihood)
    found = labelled_rows(
        str(path), Reading(ColumnFinder(predictor.kind, {}, {})), labels, predictor.row, fail
    )
    return list(found), labels


def test_sentences_are_columns_or_json_lines(tmp_path: Path) -> None:
    task: Any = TokenClassification(TAGS, tokenizer_text())
    predictor = written(task, tag_graph, tmp_path, "Ada lives")
    (tmp_path / "test.txt").write_text("New B-LOC\nYork I-LOC\n\nAda B-PER\nlives O\nin B-ORG\n")
    (tmp_path / "test.jsonl").write_text(
        '{"tokens": ["New", "York"], "ner_tags": ["B-LOC", "I-LOC"]}\n'
        '{"words": ["Ada", "lives", "in"], "tags": ["B-PER", "O", "B-ORG"]}\n'
    )
    figures = []
    for name in ("test.txt", "test.jsonl"):
        rows, labels = rows_of(predictor, tmp_path / name, "categorical")
        assert labels.unknown == {"B-ORG": 1}
        figures.append(evaluate(predictor, rows, labels.unknown))
    assert figures[0] == figures[1]
    assert (figures[0]["rows"], figures[0]["units"]) == (2, 5)
    (tmp_path / "test.tsv").write_text("New\tB-LOC\nYork\tI-LOC\n")
    labels = Labels(predictor.labels, "words", "categorical", {"source": "conll"})
    reading = Reading(ColumnFinder("words", {}, {}))
    path = str(tmp_path / "test.tsv")
    (row,) = labelled_rows(path, reading, labels, predictor.row, fail)
    assert (row["words"], row["tags"]) == (["New", "York"], ["B-LOC", "I-LOC"])
    (tmp_path / "bad.jsonl").write_text('{"tokens": ["New", "York"], "tags": ["O"]}\n')
    with pytest.raises(ValueError, match=r"bad.jsonl:1: tags: 2 words need as many tags"):
        rows_of(predictor, tmp_path / "bad.jsonl", "categorical")


IOB1 = "New I-LOC\nYork I-LOC\n\nAda I-PER\n"
BIOES = "New B-LOC\nYork E-LOC\n\nAda S-PER\n"


@pytest.mark.parametrize(("scheme", "lines"), [("iob1", IOB1), ("bioes", BIOES)])
def test_tags_of_another_scheme_and_the_cure_that_is_told(
    scheme: str, lines: str, tmp_path: Path
) -> None:
    """What was told was a key of a recipe, and `evaluate` takes no recipe."""
    task: Any = TokenClassification(TAGS, tokenizer_text())
    predictor = written(task, tag_graph, tmp_path, "Ada lives")
    path = tmp_path / "test.txt"
    path.write_text(lines)
    with pytest.raises(ValueError, match=f"limbeck evaluate: --scheme {scheme}"):
        rows_of(predictor, path, "categorical")
    labels = Labels(predictor.labels, predictor.kind, "categorical", scheme=scheme)
    reading = Reading(ColumnFinder(predictor.kind, {}, {}))
    first, _ = labelled_rows(str(path), reading, labels, predictor.row, fail)
    assert first["tags"] == ["B-LOC", "I-LOC"]


def test_a_scheme_of_another_name_is_refused(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = mistake(capsys, "evaluate", artifact, tmp_path / "test.txt", "--scheme", "bio")
    assert "--scheme bio: no such scheme" in told


def test_several_labels_are_a_list_or_parted(tmp_path: Path) -> None:
    task: Any = MultiLabelClassification(["a", "b"], tokenizer_text())

    def graph(inputs: dict[str, np.ndarray]) -> np.ndarray:
        return np.tile(np.float32([2, -2]), (len(inputs["input_ids"]), 1))

    predictor = written(task, graph, tmp_path, "Ada")
    (tmp_path / "test.jsonl").write_text(
        '{"text": "Ada", "labels": ["a"]}\n{"text": "Ada", "labels": "a;c"}\n{"text": "Ada", "labels": []}\n'
    )
    rows, labels = rows_of(predictor, tmp_path / "test.jsonl", "bernoulli")
    found = evaluate(predictor, rows, labels.unknown)
    assert found["unknown_labels"] == {"c": 1}
    # `a` is answered three times and right twice; `c` is missed: 2 * 2 / (3 + 3).
    assert found["metrics"]["micro_f1"] == pytest.approx(4 / 6)


def test_scores_are_numbers(tmp_path: Path) -> None:
    task: Any = TextRegression(["0 to 4"], tokenizer_text())

    def graph(inputs: dict[str, np.ndarray]) -> np.ndarray:
        return (inputs["attention_mask"].sum(1, keepdims=True) / 8).astype(np.float32)

    predictor = written(task, graph, tmp_path, "Ada")
    (tmp_path / "test.csv").write_text("text,score\nAda,1.5\nAda lives,3\nAda lives in,3.5\n")
    rows, labels = rows_of(predictor, tmp_path / "test.csv", "gaussian")
    found = evaluate(predictor, rows, labels.unknown)
    # Answers on 0 to 4: 3, 4 and 5 tokens are 1.5, 2 and 2.5; the errors are 0, 1 and 1.
    assert found["metrics"]["root_mean_square_error"] == pytest.approx(np.sqrt(2 / 3))
    assert found["metrics"]["spearman"] == pytest.approx(1)


def test_a_long_text_in_windows_is_one_row(tmp_path: Path) -> None:
    tokenizer = json.loads(tokenizer_text())
    tokenizer["truncation"]["stride"] = 2
    task: Any = TextClassification(["a", "b"], json.dumps(tokenizer))

    def graph(inputs: dict[str, np.ndarray]) -> np.ndarray:
        return np.tile(np.float32([2, -2]), (len(inputs["input_ids"]), 1))

    predictor = written(task, graph, tmp_path, "Ada")
    (tmp_path / "test.csv").write_text(f"text,label\n{'Ada ' * 40},a\nAda,b\n")
    rows, labels = rows_of(predictor, tmp_path / "test.csv", "categorical")
    found = evaluate(predictor, rows, labels.unknown)
    assert (found["rows"], found["units"], found["metrics"]["accuracy"]) == (2, 2, 0.5)
    assert predictor.predict_proba([row["text"] for row in rows]).shape == (2, 2)


@pytest.mark.parametrize("likelihood", ["categorical", "bernoulli"])
def test_a_file_without_a_label_of_the_artifact_is_refused(likelihood: str) -> None:
    own, unknown = ["ham", "spam"], {"ok": 2, "bad": 1}
    labels = np.array([2, 3, 2])
    one = np.array([2, 1, 2])
    if likelihood == "bernoulli":
        labels, one = np.eye(4)[labels], np.eye(4)[one]
    with pytest.raises(ValueError, match=r"no row has a label of the artifact .ham, spam."):
        refuse_foreign(labels, own, unknown)
    refuse_foreign(one, own, unknown)


def test_images_are_folders_of_classes_or_an_archive(tmp_path: Path) -> None:
    task: Any = ImageClassification(["x", "y"], PIXELS)
    images = [np.full((4, 4), 250, np.uint8), np.tile(np.uint8([0, 200]), (4, 2))]
    predictor = written(task, image_graph, tmp_path, images[0])
    answers = [predictor.predict(image)["label"] for image in images]
    assert answers == ["x", "y"]
    for split in ("train", "test"):
        for number, name in enumerate(("x", "z") if split == "test" else ("y", "x")):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            Image.fromarray(images[number]).save(folder / "0.png")
    rows, labels = rows_of(predictor, tmp_path / "data", "categorical")
    found = evaluate(predictor, rows, labels.unknown)
    assert (found["rows"], found["unknown_labels"]) == (2, {"z": 1})
    assert found["metrics"]["accuracy"] == 0.5
    test = {"test_images": np.stack(images), "test_labels": np.array(["x", "y"])}
    np.savez(tmp_path / "a.npz", train_images=test["test_images"], train_labels=["x", "y"], **test)
    rows, labels = rows_of(predictor, tmp_path / "a.npz", "categorical")
    assert evaluate(predictor, rows, labels.unknown)["metrics"]["accuracy"] == 1
