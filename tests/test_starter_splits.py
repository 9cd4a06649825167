"""A published split in a column of a table: by flags, letters or words of contests, for `limbeck init` and for the source that reads the recipe."""

import subprocess
from pathlib import Path

import pytest
from layouts import text
from test_files_as_they_lie import read
from test_starter_choice import chosen

from limbeck.cli.first_recipe import look as starter
from limbeck.sources._cells.splits import split_of_cell

SPLITS = [
    ("is_train", (1, 0), ("train", "test")),
    ("train", (1, 0), ("train", "test")),
    ("is_test", ("True", "False"), ("test", "train")),
    ("is_valid", ("no", "yes"), ("train", "validation")),
    ("isTrain", ("T", "F"), ("train", "test")),
    ("partition", ("L", "T"), ("train", "test")),
    ("subset", ("TR", "TE", "VA"), ("train", "test", "validation")),
    ("SemEval_set", ("TRAIN", "TRIAL", "TEST"), ("train", "validation", "test")),
    ("Usage", ("Training", "PublicTest", "PrivateTest"), ("train", "validation", "test")),
]


@pytest.mark.parametrize(("name", "values", "splits"), SPLITS)
def test_a_published_split_is_read(
    name: str, values: tuple[object, ...], splits: tuple[str, ...], tmp_path: Path
) -> None:
    """It was dropped without a word, or offered as the label."""
    rows = [f"{text(n)},{'ab'[n // 4 % 2]},{values[n % len(values)]}\n" for n in range(60)]
    (tmp_path / "data.csv").write_text(f"text,label,{name}\n" + "".join(rows))
    guess = starter.look(tmp_path / "data.csv")
    assert (guess.options["label"], guess.options["split"]) == ("label", name)
    told = next(reason for reason in guess.reasons if f"`{name}` says the split" in reason)
    assert all(f"{value} is {split}" in told for value, split in zip(values, splits, strict=True))
    assert not any("could be" in reason or "drawn from it" in reason for reason in guess.reasons)
    found = read("csv", tmp_path / "data.csv", text="text", label="label", split=name)
    share = 60 // len(values)
    assert {split: len(rows) for split, rows in found.items() if rows} == dict.fromkeys(
        splits, share
    )


def test_a_vehicle_called_train_is_a_label() -> None:
    """Of several labels in columns of 0 and 1 it is one more."""
    vehicles = {name: (lambda n, k=k: (n + k) // 2 % 2) for k, name in enumerate(("car", "train"))}
    found = chosen(text=text, **vehicles)
    assert found.options["label_columns"] == ["car", "train"]
    assert "split" not in found.options


def test_numbers_of_parts_are_no_label_and_told() -> None:
    found = chosen(split=lambda n: n % 3, text=text, mood=lambda n: "abc"[n // 3 % 3])
    assert (found.options["label"], "split" in found.options) == ("mood", False)
    assert "`split` numbers parts, and which of them is for test is not said" in found.reason


@pytest.mark.parametrize("cell", ["2", "", "maybe", "x"])
def test_a_cell_that_says_no_split_is_refused(cell: str, tmp_path: Path) -> None:
    assert split_of_cell(cell, "is_train") is None
    (tmp_path / "data.csv").write_text(f"text,label,is_train\nso be it,a,1\nor not,b,{cell}\n")
    with pytest.raises(ValueError, match="is no split"):
        read("csv", tmp_path / "data.csv", split="is_train")


def test_pixels_of_a_contest_keep_its_three_splits(tmp_path: Path) -> None:
    """FER-2013: both tests became one, and validation rows were drawn from train."""
    usage = ("Training", "PublicTest", "PrivateTest")
    pixels = " ".join(str(n % 256) for n in range(24 * 24))
    rows = [f"{n % 2},{pixels},{usage[n % 3]}\n" for n in range(30)]
    (tmp_path / "fer.csv").write_text("emotion,pixels,Usage\n" + "".join(rows))
    with pytest.raises(ValueError, match="in that folder: ") as caught:
        starter.look(tmp_path / "fer.csv")
    message = str(caught.value)
    assert "Training is train, PublicTest is validation, PrivateTest is test" in message
    making = message.partition("in that folder: ")[2].rpartition(" && ")[0]
    subprocess.run(making, shell=True, check=True, cwd=tmp_path)
    found = read("npz", tmp_path / "images.npz")
    assert {split: len(rows) for split, rows in found.items()} == dict.fromkeys(
        ("train", "validation", "test"), 10
    )
