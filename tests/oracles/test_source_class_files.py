"""`class_files`: texts in a file for each class, one a line."""

from pathlib import Path

import pytest
from layouts import put

from limbeck.cli.first_recipe import look as starter
from limbeck.core import registry
from limbeck.sources import BadRow
from limbeck.sources._class_files import class_files_in


def write(folder: Path, **files: str) -> Path:
    names = {name: name.replace("__", "/").replace("9", ".") for name in files}
    return put(folder, {names[name]: content for name, content in files.items()})


def read(folder: Path, **keys: object) -> dict[str, list[tuple[str, str]]]:
    rows = registry.create("sources", "class_files", {"path": str(folder), **keys}).read()
    return {
        split: [(row["label"], row["text"]) for row in of_split] for split, of_split in rows.items()
    }


@pytest.mark.parametrize(
    ("name", "split", "label"),
    [
        ("pos.txt", "train", "pos"),
        ("pos", "train", "pos"),
        ("rt-polarity.neg", "train", "neg"),
        ("train.pos", "train", "pos"),
        ("test_very-good.txt", "test", "very_good"),
        ("pos_dev.txt.gz", "validation", "pos"),
        ("Test/neg.txt", "test", "neg"),
        ("neg/reviews.txt", "train", "neg"),
        ("train/neg/reviews_0.txt", "train", "neg"),
        ("unlabelled.txt", "unlabelled", None),
    ],
)
def test_a_name_says_the_split_and_the_class(
    tmp_path: Path, name: str, split: str, label: str | None
) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    (file,) = class_files_in(tmp_path)
    assert (file.split, file.label) == (split, label)


@pytest.mark.parametrize("name", ["train.txt", ".pos.txt", "test/train.txt", "a/b/c/pos.txt"])
def test_another_name_says_no_class(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    assert class_files_in(tmp_path) == []


def test_each_line_is_a_text_of_its_files_class(tmp_path: Path) -> None:
    write(
        tmp_path,
        pos9txt="good \n\nfine\n",
        neg9txt="bad\n",
        test__pos9txt="nice\n",
        notes9txt="x\n",
        unlabelled9txt="so\n",
    )
    assert read(tmp_path, classes=["neg", "pos"]) == {
        "train": [("neg", "bad"), ("pos", "good"), ("pos", "fine")],
        "test": [("pos", "nice")],
        "unlabelled": [(None, "so")],
    }
    assert ("notes", "x") in read(tmp_path)["train"]
    with pytest.raises(ValueError, match=r"no file of neu in train. Classes here: neg, notes, pos"):
        read(tmp_path, classes=["neu", "pos"])
    (tmp_path / "neg.txt").write_bytes(b"bad\nb\xe4d \0\n")
    with pytest.raises(BadRow, match=r"neg.txt:2:2: .* is not UTF-8"):
        read(tmp_path)
    with pytest.raises(ValueError, match=r"is no folder. It should hold a file for each class"):
        read(tmp_path / "pos.txt")
    (tmp_path / "one").mkdir()
    with pytest.raises(ValueError, match=r"no file of a second class in train. Classes here: pos"):
        read(write(tmp_path / "one", pos9txt="good\n"))


def test_init_takes_names_of_classes_alone(tmp_path: Path) -> None:
    """Files that are called otherwise may be books; of those the message says what they can be made."""
    text = "".join(f"a film of the year {number} that nobody saw\n" for number in range(30))
    guess = starter.look(
        write(tmp_path / "a", pos9txt=text, neg9txt=text, q9txt=":3\n", README9txt=text)
    )
    assert (guess.source, guess.options["classes"]) == ("class_files", ["neg", "pos", "q"])
    assert guess.reasons[-1] == "not read: README.txt"
    # One file in each of two folders was read as prose, and the other left out.
    assert (
        starter.look(write(tmp_path / "b", pos__pos9txt=text, neg__neg9txt=text)).source
        == "class_files"
    )
    with pytest.raises(
        ValueError, match=r"of a class, one a line, .*: for f in .*awk .*> train\.tsv"
    ):
        starter.look(write(tmp_path / "c", dickens9txt=text, melville9txt=text))
