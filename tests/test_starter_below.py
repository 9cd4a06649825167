"""`limbeck init` of folders that hold data deeper, under other names, or in parts: read, or refused with a command that works."""

import subprocess
from pathlib import Path

import pytest
from layouts import conll, csv, prose, put

from limbeck.cli.first_recipe import look as starter


def refusal(folder: Path) -> str:
    with pytest.raises(ValueError, match=r"limbeck init|in that folder") as caught:
        starter.look(folder)
    return str(caught.value)


def named_folder(message: str) -> Path:
    """The folder that the command of a refusal gives."""
    return Path(message.rpartition("limbeck init ")[2])


def test_a_test_split_beside_the_folder_of_its_set(tmp_path: Path) -> None:
    """Korean hate speech: labeled/train.tsv, test.no_label.tsv above it, texts beside it."""
    table = csv().replace(",", "\t")
    files = {
        "labeled/train.tsv": table,
        "labeled/dev.tsv": table,
        "test.no_label.tsv": "text\nso it is\n" * 9,
    }
    message = refusal(put(tmp_path, {**files, "captions/train.txt": prose(), "README.md": "x"}))
    assert "no file of train here, and folders hold data (labeled/, captions/)" in message
    assert starter.look(named_folder(message)).options["label"] == "label"


def test_several_sets_two_folders_down(tmp_path: Path) -> None:
    """JGLUE: datasets/NAME/train.json. One that cannot be read is named too, and none is chosen in silence."""
    files = {
        "datasets/nli/train.csv": csv(),
        "datasets/sts/train.csv": csv(),
        "LICENSE": "x",
        "scripts/a.py": "x",
    }
    message = refusal(put(tmp_path, files))
    assert "several folders here hold data (datasets/nli/, datasets/sts/)" in message
    assert starter.look(named_folder(message)).files["train"] == [
        tmp_path / "datasets/nli/train.csv"
    ]
    (tmp_path / "datasets/sts/train.csv").rename(tmp_path / "datasets/sts/valid.csv")
    (tmp_path / "datasets/sts/test.csv").write_text(csv())
    for folder in (tmp_path, tmp_path / "datasets"):
        assert named_folder(refusal(folder)) == tmp_path / "datasets/nli"


def test_one_set_two_folders_down_is_read(tmp_path: Path) -> None:
    put(tmp_path, {"data/v1/train.csv": csv(), "data/v1/test.csv": csv(90), "src/main.py": "x"})
    assert starter.look(tmp_path).path == tmp_path / "data/v1"


def test_the_reason_of_the_one_folder_below_is_told(tmp_path: Path) -> None:
    put(tmp_path, {"data/valid.csv": csv(), "data/test.csv": csv(), "README.md": "x"})
    assert "no file of train among test.csv (test), valid.csv (validation)" in refusal(tmp_path)


def test_sets_of_two_languages_are_no_classes(tmp_path: Path) -> None:
    """en/train.txt was a text of the class en."""
    files = {
        f"{language}/{split}.txt": conll()
        for language in ("de", "en")
        for split in ("train", "test")
    }
    message = refusal(put(tmp_path, files))
    assert "several folders here hold data (de/, en/)" in message
    assert starter.look(named_folder(message)).source == "conll"


def test_a_test_split_beside_a_table_of_another_name(tmp_path: Path) -> None:
    """RuSentiment: random_posts.csv and test.csv. Without labels it is none."""
    put(
        tmp_path,
        {
            "posts.csv": csv(count=80),
            "more_posts.csv": csv(300, 20),
            "posts_test.csv": csv(900, 20),
        },
    )
    guess = starter.look(tmp_path)
    assert guess.options["train"] == "posts.csv" and guess.options["test"] == "posts_test.csv"
    assert "no train.csv here: posts.csv is read for it" in guess.reasons
    assert guess.reasons[-1] == "not read: more_posts.csv"
    (tmp_path / "posts_test.csv").write_text("text\nso it is\nand so not\n")
    guess = starter.look(tmp_path)
    assert "test" not in guess.options and guess.files["train"] == [tmp_path / "posts.csv"]


@pytest.mark.parametrize(
    ("names", "test"),
    [
        ([f"fold_{n}.csv" for n in range(5)], ["test.csv"]),
        (["my part1.csv", "my part2.csv"], []),
        ([f"data-{n:05}.csv" for n in range(3)], []),
    ],
)
def test_the_parts_of_one_table_are_not_read_alone(
    tmp_path: Path, names: list[str], test: list[str]
) -> None:
    """Of folds the last is test; the command that is told makes a folder that is read."""
    put(tmp_path, {name: csv(number * 50, 20) for number, name in enumerate(names)})
    message = refusal(tmp_path)
    assert "the parts of one table" in message
    subprocess.run(message.partition("in that folder: ")[2], shell=True, check=True, cwd=tmp_path)
    guess = starter.look(tmp_path)
    assert len(guess.files["train"]) == len(names) - len(test)
    assert [file.name for file in guess.files.get("test", [])] == test


@pytest.mark.parametrize(
    "names", [["sts2012.csv", "sts2013.csv"], ["a_1.csv", "b_2.csv"], ["all.csv"]]
)
def test_other_numbers_are_no_parts(tmp_path: Path, names: list[str]) -> None:
    put(tmp_path, {name: csv() for name in names})
    assert starter.look(tmp_path).source == "csv"
