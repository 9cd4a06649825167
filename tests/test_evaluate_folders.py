"""`limbeck evaluate` and `predict` of what training reads: its folders, words in columns, spans, standard input."""

import gzip
import io
import json
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call, mistake
from layouts import put
from PIL import Image
from task_examples import TAGS, tokenizer_text
from test_answers import PIXELS, image_graph, tag_graph, written
from test_artifact import artifact as artifact
from test_artifact import table_runtime as table_runtime

from limbeck.artifact.predictor import Predictor
from limbeck.artifact.rows.columns import ColumnFinder
from limbeck.artifact.rows.inputs import Reading, read_items
from limbeck.artifact.rows.labelled import Labels, labelled_rows
from limbeck.sources import Row, fail
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.token_classification import TokenClassification

CSV = "text,label\nNew York,place\nAda,person\n"
CONLL = "New B-LOC\nYork I-LOC\n\nAda B-PER\nlives O\n"
WORDS = [["New", "York"], ["Ada", "lives"]]


def labelled(
    predictor: Predictor,
    source: Path | str,
    recipe: Mapping[str, Any],
    *,
    stdin: bytes = b"",
    **keys: Any,
) -> tuple[list[Row], list[str]]:
    """(The rows of a source for an artifact of this recipe, what was said of them.)"""
    told: list[str] = []
    reading = Reading(ColumnFinder(predictor.kind, {}, recipe), tell=told.append, **keys)
    labels = Labels(predictor.labels, predictor.kind, "categorical", recipe)
    rows = labelled_rows(str(source), reading, labels, predictor.row, fail, io.BytesIO(stdin))
    return list(rows), told


@pytest.fixture
def tagger(tmp_path: Path) -> Predictor:
    task: Any = TokenClassification(TAGS, tokenizer_text())
    return written(task, tag_graph, tmp_path, "Ada lives")


def test_of_a_folder_as_published_the_test_split_is_scored(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows of train were scored too, without a word."""
    (artifact / "recipe.yaml").write_text("data: {source: csv, text: text, label: label}\n")
    put(
        tmp_path / "set",
        {"train.csv": CSV * 1 + "York,person\n", "dev.csv": CSV, "my_test.csv": CSV},
    )
    assert call("evaluate", artifact, tmp_path / "set", "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["rows"] == 2
    assert "the test split of" in said.err and "my_test.csv" in said.err
    put(tmp_path / "new", {"monday.csv": CSV, "tuesday.csv": CSV})
    assert call("evaluate", artifact, tmp_path / "new", "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["rows"] == 4
    assert "all files of rows" in said.err


def test_standard_input_is_scored(
    artifact: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(CSV.encode())))
    assert call("evaluate", artifact, "-", "--format", "csv", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 2


def test_a_bad_row_is_told_with_the_option_that_leaves_it_out(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, {"bad.csv": CSV + "Ada\n"})
    told = mistake(capsys, "evaluate", artifact, tmp_path / "bad.csv")
    assert told.endswith("Or `--on-bad-row skip` leaves out such rows, and counts them")


def test_texts_of_a_class_each_are_a_folder_or_a_file(artifact: Path, tmp_path: Path) -> None:
    """rt-polarity.pos, rt-polarity.neg: they had no column of the label."""
    from limbeck.artifact.load import load

    predictor = load(artifact)
    recipe = {"source": "class_files", "path": "elsewhere"}
    put(tmp_path / "set", {"a.place": "New York\nYork\n", "a.person": "Ada\n"})
    rows, _ = labelled(predictor, tmp_path / "set", recipe)
    assert sorted(row["label"] for row in rows) == ["person", "place", "place"]
    rows, _ = labelled(predictor, tmp_path / "set" / "a.place", recipe)
    assert [(row["text"], row["label"]) for row in rows] == [
        ("New York", "place"),
        ("York", "place"),
    ]


def test_words_in_columns_lie_in_folders_gzip_and_standard_input(
    tagger: Predictor, tmp_path: Path
) -> None:
    """`predict` answered a packed file line by line, tags and all."""
    recipe = {"source": "conll", "path": "elsewhere"}
    put(tmp_path / "set", {"train.tsv": CONLL * 2, "test.tsv": CONLL.replace(" ", "\t")})
    packed = tmp_path / "x.conll.gz"
    packed.write_bytes(gzip.compress(CONLL.encode()))
    for source, keys in ((tmp_path / "set", {}), (packed, {}), ("-", {"form": "conll"})):
        rows, _ = labelled(tagger, source, recipe, stdin=CONLL.encode(), **keys)
        assert [list(row["words"]) for row in rows] == WORDS
        assert [row["tags"] for row in rows] == [["B-LOC", "I-LOC"], ["B-PER", "O"]]
    finder = ColumnFinder("words", {}, recipe)
    for source, form in ((str(packed), None), ("-", "conll")):
        found = read_items(source, io.BytesIO(CONLL.encode()), Reading(finder, form))
        assert [list(item.raw) for item in found] == WORDS
    with pytest.raises(ValueError, match="--format conll is for words to tag"):
        next(read_items("-", io.BytesIO(), Reading(ColumnFinder("text", {}, {}), "conll")))


def test_spans_of_characters_are_scored_as_training_read_them(
    tagger: Predictor, tmp_path: Path
) -> None:
    """Toxic spans: `[0, 1, 2]` was taken for a list of tags, and with bad rows left out the rows without any were scored alone."""
    recipe = {"source": "csv", "spans": "spans", "text": "text"}
    put(tmp_path, {"test.csv": 'spans,text\n"[0, 1, 2]",Ada lives\n[],New York\n'})
    rows, _ = labelled(tagger, tmp_path / "test.csv", recipe)
    assert [row["tags"] for row in rows] == [["B-span", "O"], ["O", "O"]]


def test_images_in_idx_files_and_one_alone(tmp_path: Path) -> None:
    task: Any = ImageClassification(["0", "1"], PIXELS)
    predictor = written(task, image_graph, tmp_path, np.zeros((8, 8), np.uint8))
    pixels = np.arange(2 * 64, dtype=np.uint8).reshape(2, 8, 8)
    head = bytes([0, 0, 8, 3]) + np.array([2, 8, 8], ">i4").tobytes()
    labels = bytes([0, 0, 8, 1]) + np.array([2], ">i4").tobytes() + bytes([1, 0])
    files: dict[str, str | bytes] = {}
    for name in ("train", "t10k"):
        files |= {
            f"{name}-images-idx3-ubyte": head + pixels.tobytes(),
            f"{name}-labels-idx1-ubyte": labels,
        }
    put(tmp_path / "mnist", files)
    rows, told = labelled(predictor, tmp_path / "mnist", {"source": "idx"})
    assert [row["label"] for row in rows] == ["1", "0"]
    assert told == [f"the test split of {tmp_path / 'mnist'} is read; not train"]
    Image.fromarray(pixels[0]).save(tmp_path / "one.png")
    with pytest.raises(ValueError, match="one image has no label"):
        labelled(predictor, tmp_path / "one.png", {})


def test_what_is_packed_is_told(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bytes of an archive were answered as texts."""
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        archive.writestr("rows.csv", CSV)
    (tmp_path / "rows.txt").write_bytes((tmp_path / "rows.zip").read_bytes())
    (tmp_path / "rows.parquet.gz").write_bytes(gzip.compress(b"PAR1"))
    for name, told in (
        ("rows.zip", "an archive. Unpack it"),
        ("rows.txt", "an archive"),
        ("rows.parquet.gz", "gunzip it"),
    ):
        for verb in ("predict", "evaluate"):
            assert told in mistake(capsys, verb, artifact, tmp_path / name)


def test_columns_are_named_of_tables_alone(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They were left out of account, and labels answered as a part of the texts."""
    put(tmp_path, {"rows.txt": "Ada\tperson\n"})
    told = mistake(capsys, "predict", artifact, tmp_path / "rows.txt", "--columns", "text,label")
    assert "this is read as lines" in told and "--format tsv" in told
    assert (
        call(
            "predict", artifact, tmp_path / "rows.txt", "--columns", "text,label", "--format", "tsv"
        )
        == 0
    )
    (line,) = capsys.readouterr().out.splitlines()
    assert (json.loads(line)["input"], json.loads(line)["given_label"]) == ("Ada", "person")
