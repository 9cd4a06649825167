"""A first recipe has steps enough: few rows take smaller batches and more epochs."""

import csv
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from limbeck.cli.first_recipe import lengths
from limbeck.cli.first_recipe.look import write

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
    assert (found["teacher"]["epochs"], found["train"]["epochs"]) == (3, 6)
    assert found["train"]["batch_tokens"] == 1024
    assert not any("rows to train on" in line for line in told)


def test_a_batch_holds_the_longest_text(tmp_path: Path) -> None:
    data = table(tmp_path / "data.csv", 40)
    with data.open("a") as file:
        file.write(f"{'long ' * 300},bill\n")
    found, _ = recipe_of(data, tmp_path)
    assert found["train"]["batch_tokens"] == 2 + 1500 // 4


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
