"""A first recipe has steps enough: few rows take smaller batches and more epochs."""

import csv
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from encoders import save_encoder
from PIL import Image
from tokenizers import Tokenizer

from limbeck.cli.first_recipe import lengths
from limbeck.cli.first_recipe.look import write
from limbeck.cli.first_recipe.tokens import TokenCount

CLASSES = ["bill", "login", "refund", "ship"]


def table(path: Path, rows: int, words: int = 6) -> Path:
    """Texts of some words of four letters, in four classes."""
    generator = random.Random(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in range(rows):
            text = " ".join(generator.choice(["want", "help", "need"]) for _ in range(words))
            writer.writerow([f"{text} {row:04}", CLASSES[row % 4]])
    return path


def recipe_of(data: Path, tmp_path: Path) -> tuple[dict[str, Any], list[str]]:
    told = write(data, tmp_path / "recipe.yaml", None)
    return yaml.safe_load((tmp_path / "recipe.yaml").read_text()), told


def test_few_texts_have_steps_enough(tmp_path: Path) -> None:
    """260 rows in batches of 1,024 tokens were nine steps of a teacher, and its student KEPT."""
    found, told = recipe_of(table(tmp_path / "data.csv", 260), tmp_path)
    # A fifth is drawn for the test, a tenth of what is left for validation. 6 words of 4 letters, 6
    # spaces and 4 digits are 34 characters, of 4 a token; two marks come to each row.
    tokens = round(260 * 0.8 * 0.9 * (2 + 9))
    assert found["train"]["batch_tokens"] == tokens // 20
    steps = found["teacher"]["epochs"] * 20
    assert steps >= 400
    assert found["train"]["epochs"] >= found["teacher"]["epochs"]
    assert any("187 rows to train on: smaller batches and more epochs" in line for line in told)


def test_many_texts_have_the_usual_length(tmp_path: Path) -> None:
    found, told = recipe_of(table(tmp_path / "data.csv", 20_000, words=12), tmp_path)
    assert (found["teacher"]["epochs"], found["train"]["epochs"]) == (3, 5)
    assert found["train"]["batch_tokens"] == 1024
    assert not any("rows to train on" in line for line in told)


def test_a_batch_holds_the_longest_text(tmp_path: Path) -> None:
    data = table(tmp_path / "data.csv", 40)
    with data.open("a") as file:
        file.write(f"{'long ' * 300},bill\n")
    found, _ = recipe_of(data, tmp_path)
    # Of 377 tokens, for what is longer than train.max_tokens is cut.
    assert found["train"]["batch_tokens"] == 256


@pytest.mark.parametrize(("words", "rows"), [(12, None), (260, 64)])
def test_long_texts_are_calibrated_on_fewer_of_them(
    words: int, rows: int | None, tmp_path: Path
) -> None:
    """256 texts of 256 tokens took two minutes of a run of eleven, for 608 rows."""
    found, _ = recipe_of(table(tmp_path / "data.csv", 300, words), tmp_path)
    assert found["quantize"].get("calibration_rows") == rows


def test_an_epoch_is_bounded(tmp_path: Path) -> None:
    """Ten rows give no four hundred steps that would teach anything."""
    found, _ = recipe_of(table(tmp_path / "data.csv", 10), tmp_path)
    assert found["teacher"]["epochs"] <= lengths.MOST_EPOCHS


def test_splits_that_are_given_are_not_drawn(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        table(tmp_path / f"{name}.csv", 100)
    _, told = recipe_of(tmp_path, tmp_path)
    assert any("100 rows to train on" in line for line in told)


def test_few_images_have_smaller_batches(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(150):
            Image.new("L", (8, 8), number).save(tmp_path / "data" / label / f"{number}.png")
    found, told = recipe_of(tmp_path / "data", tmp_path)
    rows = 216
    assert found["train"]["batch_rows"] == rows // 20
    assert found["teacher"]["epochs"] * rows / found["train"]["batch_rows"] >= 400
    assert any("216 rows to train on" in line for line in told)


def test_data_that_are_large_or_broken_have_the_usual_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lengths, "MOST_BYTES", 100)
    found, _ = recipe_of(table(tmp_path / "data.csv", 260), tmp_path)
    assert (found["teacher"]["epochs"], found["train"]["batch_tokens"]) == (3, 1024)


ENGLISH = ["want", "help", "need", "login", "card"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("want help with login and card", None),
        ("вам нужна помощь сейчас", "pieces of 1.0 letters"),
        ("☃☃ ☃☃ ☃☃", "100% of the tokens are unknown"),
    ],
)
def test_the_vocabulary_of_the_teacher_counts_tokens(
    tmp_path: Path, text: str, told: str | None
) -> None:
    """A model of English breaks Cyrillic into letters, four times the tokens of the rule of thumb: 420 steps were 1,137."""
    # Letters that begin a word, and those that go on with one, without a whole word.
    letters = [*"внпс", "авамужнапомощьейчас"]
    words = [*ENGLISH, "with", "and", *letters]
    model = save_encoder(tmp_path / "model", words, vocabulary=200, width=16, layers=6)
    with (tmp_path / "data.csv").open("w") as file:
        file.write("text,label\n")
        file.writelines(f"{text},{CLASSES[row % 2]}\n" for row in range(100))
    lines = write(tmp_path / "data.csv", tmp_path / "recipe.yaml", model)
    found = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    tokenizer = Tokenizer.from_file(f"{model}/tokenizer.json")
    each = len(tokenizer.encode(text).ids)
    # Rows are counted by the average token, and what remains of one counts as one.
    assert each * 72 // 20 <= found["train"]["batch_tokens"] <= (each + 1) * 72 // 20
    of_language = [line for line in lines if "not made for this language" in line]
    assert len(of_language) == (1 if told else 0)
    assert told is None or told in of_language[0]


def test_a_broken_vocabulary_is_left_to_check(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    write(table(tmp_path / "data.csv", 260), tmp_path / "recipe.yaml", str(tmp_path / "model"))
    found = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert found["train"]["batch_tokens"] == 2059 // 20


def test_letters_of_other_scripts_are_tokens_by_the_rule_of_thumb() -> None:
    count = TokenCount()
    assert count.of({"text": "nine letters"}) == 2 + 3
    assert count.of({"text": "ठीक है"}) == 2 + 6
    assert count.of({"text": "a" * 400, "text_b": "b" * 4000}) == 256
    assert count.of({"words": ["four", "more"]}) == 2 + 3


def test_rows_without_labels_are_no_more_than_are_worth_their_time(tmp_path: Path) -> None:
    """20,000 unlabelled rows beside 1,185 with labels made a training of 20 epochs one of hours."""
    for split in ("train", "valid", "test"):
        table(tmp_path / f"{split}.csv", 100)
    table(tmp_path / "unlabelled.csv", 1000)
    found, told = recipe_of(tmp_path, tmp_path)
    assert found["data"]["unlabelled_rows"] == 200
    assert any("of 1,000 rows without labels 200 are taken" in line for line in told)
    table(tmp_path / "unlabelled.csv", 150)
    (tmp_path / "recipe.yaml").unlink()
    found, _ = recipe_of(tmp_path, tmp_path)
    assert "unlabelled_rows" not in found["data"]


def test_a_student_has_more_steps_than_its_teacher(tmp_path: Path) -> None:
    found, _ = recipe_of(table(tmp_path / "data.csv", 260), tmp_path)
    assert found["train"]["epochs"] == 1.5 * found["teacher"]["epochs"]


def test_images_are_counted_without_being_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photographs of some megabytes in all were taken for data of many rows."""
    monkeypatch.setattr(lengths, "MOST_BYTES", 100)
    for split, count in (("train", 60), ("test", 20)):
        for label in ("cat", "dog"):
            (tmp_path / "data" / split / label).mkdir(parents=True)
            for number in range(count):
                image = Image.new("L", (8, 8), number)
                image.save(tmp_path / "data" / split / label / f"{number}.png")
    found, told = recipe_of(tmp_path / "data", tmp_path)
    # A tenth of train is drawn for validation; test is there.
    assert any("108 rows to train on" in line for line in told)
    assert found["train"]["batch_rows"] == 8
    assert found["teacher"]["epochs"] * 14 >= 600
