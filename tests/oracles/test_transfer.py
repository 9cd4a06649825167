"""Rows without labels from elsewhere: what each task makes of them, what they leave alone, and what is refused."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limbeck.core import registry
from limbeck.core.cache.store import Store
from limbeck.data.splits import Splits, load_splits
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.steps.teacher import prepare_teacher, tuning_job, tuning_steps
from limbeck.recipe.model import Data, Recipe
from limbeck.recipe.reading import parse

TAGGED = "Ada B-PER\nlives O\n\nYork B-LOC\n\nin O\n\n" * 20
LINES = "Ada was in York . It rained for 4 @.@ 5 hours !\n\n = Heading =\nA well @-@ known line without an end\n"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "tagged").mkdir()
    for name in ("train", "test"):
        (tmp_path / "tagged" / f"{name}.txt").write_text(TAGGED)
    (tmp_path / "lines.txt").write_text(LINES)
    (tmp_path / "texts.csv").write_text("text,label\n" + "it rains,weather\ncall Ada,phone\n" * 20)
    return tmp_path


def read(asked: Data, task: str) -> Splits:
    return load_splits(asked, registry.load("tasks", task))


def test_lines_become_sentences_of_words_for_a_tagger(corpus: Path) -> None:
    found = read(
        Data(source="conll", path=str(corpus / "tagged"), transfer=str(corpus / "lines.txt")),
        "token-classification",
    )
    words = [
        "Ada was in York .",
        "It rained for 4.5 hours !",
        "= Heading =",
        "A well-known line without an end",
    ]
    assert found.num_unlabelled == 4
    assert [" ".join(row["words"]) for row in found.train[-4:]] == words
    assert all(
        row["tags"] == [None] * len(row["words"]) and set(row) == {"words", "tags"}
        for row in found.train[-4:]
    )
    assert all(None not in row["tags"] for row in found.labelled)
    assert found.labels == ["O", "B-LOC", "B-PER"]


def test_lines_become_texts_for_a_classifier(corpus: Path) -> None:
    found = read(
        Data(source="csv", path=str(corpus / "texts.csv"), transfer=str(corpus / "lines.txt")),
        "text-classification",
    )
    assert [row["text"] for row in found.train[-3:]] == [
        "Ada was in York . It rained for 4.5 hours !", "= Heading =", "A well-known line without an end",
    ]  # fmt: skip
    assert {row["label"] for row in found.train[-3:]} == {None}
    assert len(found.train) == len(found.labelled) + 3


def test_every_image_of_a_folder_or_an_archive_is_taken(tmp_path: Path) -> None:
    (tmp_path / "deep" / "in").mkdir(parents=True)
    for number, name in enumerate(("a.png", "deep/in/b.png")):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "a.png")
    folder = read(Data(source="sklearn", transfer=str(tmp_path)), "image-classification")
    assert [(int(row["image"].max()), row["label"]) for row in folder.train[-2:]] == [
        (0, None),
        (1, None),
    ]
    assert (
        read(
            Data(source="sklearn", transfer=str(tmp_path / "some.zip")), "image-classification"
        ).num_unlabelled
        == 1
    )


def test_their_number_is_limited_by_a_fixed_draw_in_order(corpus: Path) -> None:
    (corpus / "lines.txt").write_text("".join(f"word{number}\n" for number in range(100)))
    keys = {
        "source": "conll",
        "path": str(corpus / "tagged"),
        "transfer": str(corpus / "lines.txt"),
    }
    first, again = (
        read(Data(**keys, unlabelled_rows=10), "token-classification") for _ in range(2)
    )
    numbers = [int(row["words"][0].removeprefix("word")) for row in first.train[-10:]]
    assert first.num_unlabelled == 10
    assert numbers == sorted(set(numbers)) != list(range(10))
    assert "unlabelled: 10 of 100 rows drawn (seeded)" in first.notes
    assert first.fingerprint("train") == again.fingerprint("train")
    assert read(Data(**keys, unlabelled_rows=0), "token-classification").num_unlabelled == 0
    with pytest.raises(ValueError, match=r"data\.unlabelled_rows: there are no unlabelled rows"):
        read(Data(source="sklearn", unlabelled_rows=5), "image-classification")


def test_test_rows_among_them_are_told(corpus: Path) -> None:
    (corpus / "lines.txt").write_text("it pours .\n")
    (corpus / "tagged" / "test.txt").write_text("it O\npours O\n. O\n")
    found = read(
        Data(source="conll", path=str(corpus / "tagged"), transfer=str(corpus / "lines.txt")),
        "token-classification",
    )
    assert any(
        note.startswith("warning: 1 of 1 test rows are in train too") for note in found.notes
    )


def test_what_cannot_be_read_is_named(corpus: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.transfer: `nowhere` is not here\. It should hold"):
        read(Data(source="sklearn", transfer="nowhere"), "image-classification")
    (corpus / "empty.txt").write_text("\n\n")
    with pytest.raises(ValueError, match=r"data\.transfer: .*empty\.txt` holds no texts"):
        read(
            Data(source="conll", path=str(corpus / "tagged"), transfer=str(corpus / "empty.txt")),
            "token-classification",
        )


def test_the_shared_folder_is_found(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBECK_DATA", str(corpus))
    asked = Data(source="conll", path="../shared/data/tagged", transfer="../shared/data/lines.txt")
    assert read(asked, "token-classification").num_unlabelled == 4


RECIPE = """
task: image-classification
data: {source: sklearn, unlabelled: 0.3}
teacher: {model: small_cnn, width: 4, epochs: 1}
student: {model: small_cnn, width: 2}
train: {epochs: 1, learning_rate: 1.0e-3, threads: 1}
distill: {}
"""


def tuned_on(recipe: Recipe) -> tuple[str, int]:
    """The teacher's key, and how many rows it was tuned on."""
    bench = RunContext(recipe, Store())
    ready = prepare_teacher(recipe, bench)
    job = tuning_job(bench, ready.load(), ready.task, tuning_steps(recipe, bench))
    return ready.key, len(job.rows.encoded)


def test_the_teacher_is_tuned_on_labelled_rows_alone_and_outlives_the_transfer_set(
    tmp_path: Path,
) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    recipe = parse(RECIPE)
    bench = RunContext(recipe, Store())
    key, count = tuned_on(recipe)
    assert count == len(bench.data.labelled) < len(bench.data.train)
    assert tuned_on(parse(RECIPE, overrides=[f"data.transfer={tmp_path}"])) == (key, count)
    assert tuned_on(parse(RECIPE, overrides=["data.unlabelled_rows=3"])) == (key, count)
