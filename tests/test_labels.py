"""Labels as they lie: which classes there are, in which order, and on which side of a drawn split a row falls."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limbeck.core import registry
from limbeck.data.splits import Splits, load_splits
from limbeck.recipe.model import Data
from limbeck.sources.rows import Rows

TEXTS = registry.load("tasks", "text-classification")
SEVERAL = registry.load("tasks", "multi-label-classification")


def split(
    train: list[dict[str, Any]], task: Any = TEXTS, policy: str | None = None, **others: Any
) -> Splits:
    rows = {"train": train, **others}
    return load_splits(Data(source="rows", on_bad_row=policy), task, rows)


def row(number: int, label: Any, **more: Any) -> dict[str, Any]:
    return {"text": f"text {number}", "label": label, **more}


# Names.


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan, np.float32("nan")])
def test_a_label_that_is_missing_in_python_is_unknown(missing: Any) -> None:
    found = Rows().take({"train": [row(0, missing), row(1, "nan")]})["train"]
    assert [given["label"] for given in found] == [None, "nan"]


def test_pandas_mark_of_no_value_is_unknown() -> None:
    class NAType:
        """As pandas calls the type of `pandas.NA`."""

    (found,) = Rows().take({"train": [row(0, NAType())]})["train"]
    assert found["label"] is None


@pytest.mark.parametrize("one", [1, 1.0, np.int64(1), np.float32(1), "1"])
def test_a_number_is_one_class_however_python_holds_it(one: Any) -> None:
    found = Rows().take({"train": [row(0, 1), row(1, one), row(2, 2.5)]})["train"]
    assert [given["label"] for given in found] == ["1", "1", "2.5"]


def test_one_of_the_train_file_is_one_point_naught_of_the_test_file(tmp_path: Path) -> None:
    """As pandas writes a column of whole numbers where one of them is missing."""
    (tmp_path / "train.csv").write_text("text,label\na,0\nb,1\nc,01\n")
    (tmp_path / "test.csv").write_text("text,label\nd,1.0\ne,0.0\nf,0.5\n")
    found = registry.create("sources", "csv", {"path": str(tmp_path)}).read()
    assert [given["label"] for given in found["train"]] == ["0", "1", "01"]
    assert [given["label"] for given in found["test"]] == ["1", "0", "0.5"]


def test_an_index_may_be_written_with_a_point(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\na,0.0\nb,1.0\n")
    keys = {"path": str(tmp_path), "label_names": ["no", "yes"]}
    found = registry.create("sources", "csv", keys).read()["train"]
    assert [given["label"] for given in found] == ["no", "yes"]


# Order.


@pytest.mark.parametrize("name", ["text-classification", "multi-label-classification"])
def test_labels_stand_by_value_and_never_by_hash(name: str) -> None:
    code = (
        "from limbeck.core import registry\n"
        f"task = registry.load('tasks', {name!r})\n"
        "words = ['b', '10', '-1', '002', '2', '01', '1', '0.5', 'nan', 'a']\n"
        "rows = [{'label': word} for word in words]\n"
        "if 'multi' in task.__module__: rows = [{'label': [row['label']]} for row in rows]\n"
        "print(task.find_labels(rows))"
    )
    told = set()
    for seed in ("1", "3", "5"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, check=True
        )
        told.add(done.stdout.decode().strip())
    assert told == {str(["-1", "0.5", "01", "1", "002", "2", "10", "a", "b", "nan"])}


# Labels that train lacks.

TRAIN = [row(number, "ab"[number % 2]) for number in range(40)]
TEST = [row(100, "a"), row(101, "c"), row(102, "b"), row(103, "c")]


def test_a_label_that_train_lacks_is_told_and_counts_as_an_error() -> None:
    found = split(TRAIN, test=TEST)
    assert found.labels == ["a", "b", "c"]
    assert len(found.test) == 4
    (note,) = [note for note in found.notes if "train lacks" in note]
    assert note.startswith("warning: 2 of 4 test rows have labels that train lacks (c)")
    # The best that a model can do: right on a and b, and c never answered.
    task = TEXTS(found.labels, "")
    targets = [int(task.head.targets(given)[0]) for given in found.test]
    assert targets == [0, 2, 1, 2]


@pytest.mark.parametrize("policy", ["skip", "quarantine"])
def test_skip_leaves_no_row_out_whose_label_train_lacks(policy: str) -> None:
    """The test split is the one that was given, and no easier, whatever a recipe does with rows that cannot be read."""
    found = split(TRAIN, policy=policy, test=[*TEST, row(104, float("inf"))], validation=TEST[:2])
    plain = split(TRAIN, test=TEST, validation=TEST[:2])
    assert (found.labels, found.test, found.validation) == (
        plain.labels,
        plain.test,
        plain.validation,
    )
    assert found.num_bad == 1
    assert [note for note in found.notes if "train lacks" in note] == [
        note for note in plain.notes if "train lacks" in note
    ]


def test_a_label_that_train_lacks_is_refused_where_asked() -> None:
    with pytest.raises(
        ValueError, match=r"the test split of `rows`: row 2: train lacks the label c"
    ):
        split(TRAIN, policy="fail", test=TEST)


def test_one_of_several_labels_that_train_lacks_is_told() -> None:
    train = [row(number, ["a"] if number % 2 else ["b", "a"]) for number in range(40)]
    found = split(train, SEVERAL, test=[row(50, ["a", "z"]), row(51, [])])
    assert found.labels == ["a", "b", "z"]
    assert any(note.startswith("warning: 1 of 2 test rows have labels") for note in found.notes)


def test_a_tag_that_train_lacks_is_told() -> None:
    task = registry.load("tasks", "token-classification")
    train = [{"words": [f"w{number}", "x"], "tags": ["B-PER", "O"]} for number in range(40)]
    found = split(train, task, test=[{"words": ["y"], "tags": ["B-ORG"]}])
    assert found.labels == ["O", "B-ORG", "B-PER"]
    assert any(
        "1 of 1 test rows have labels that train lacks (B-ORG)" in note for note in found.notes
    )


def test_a_score_may_be_any_number_of_any_split() -> None:
    task = registry.load("tasks", "text-regression")
    found = split([row(number, number / 7) for number in range(40)], task, test=[row(99, 99.5)])
    assert not any("train lacks" in note for note in found.notes)


# Drawn splits.


def test_a_class_of_one_row_stays_in_train_and_is_told() -> None:
    rows = TRAIN + [row(200 + number, f"c{number}") for number in range(30)]
    found = split(rows)
    single = {f"c{number}" for number in range(30)}
    assert single <= {given["label"] for given in found.train}
    assert not single & {given["label"] for given in found.test + found.validation}
    assert found.test
    assert found.validation
    assert any(note.startswith("warning: 30 labels have one row alone") for note in found.notes)


def test_where_every_class_has_one_row_nothing_can_be_drawn() -> None:
    with pytest.raises(ValueError, match=r"split of `rows` is empty.*30 labels have one row"):
        split([row(number, f"c{number}") for number in range(30)])


def test_no_class_is_drawn_away() -> None:
    """Two rows a class: the test split takes one of some, and validation the other of none."""
    found = split([row(number, str(number // 2)) for number in range(60)])
    assert {given["label"] for given in found.train} == {str(number) for number in range(30)}
    assert found.test
    assert found.validation


def test_equal_inputs_are_on_one_side() -> None:
    rows = [row(number // 3, "ab"[number // 3 % 2]) for number in range(300)]
    found = split(rows)
    sides = [
        {given["text"] for given in side} for side in (found.train, found.validation, found.test)
    ]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 100
    assert len(found.test) == pytest.approx(60, abs=3)
    assert len(found.validation) == pytest.approx(24, abs=3)
    assert not any("are in train too" in note for note in found.notes)


def test_a_group_is_on_one_side_and_leaves_no_trace_in_the_rows() -> None:
    """Patients with several images each, and an image that two of them share."""
    rows = [row(number, "ab"[number % 2], group=f"patient {number // 10}") for number in range(300)]
    rows.append(row(0, "a", group="patient 29"))
    found = split(rows)
    patients = []
    for side in (found.train, found.validation, found.test):
        # Of test alone the verdict asks for it.
        assert side is found.test or not any("group" in given for given in side)
        patients.append({int(given["text"].removeprefix("text ")) // 10 for given in side})
    assert sum(map(len, patients)) == len(set.union(*patients)) == 30
    assert sum(0 in side and 29 in side for side in patients) == 1
    assert len(found.test) == pytest.approx(60, abs=10)


def test_of_a_few_large_groups_the_smallest_is_drawn() -> None:
    rows = [row(number, "ab"[number % 2], group=str(number // 20)) for number in range(78)]
    found = split(rows)
    assert {len(found.test), len(found.validation)} == {18, 20}


def test_a_group_on_both_sides_of_given_splits_is_counted_and_told() -> None:
    train = [row(number, "ab"[number % 2], group=f"p{number % 5}") for number in range(40)]
    test = [row(100 + number, "a", group=f"p{number}") for number in range(3, 7)]
    found = split(train, test=test)
    assert "warning: 2 of 4 test rows are of a group that train has too (p3, p4)" in found.notes
    assert found.num_grouped == 2


def test_test_rows_that_are_in_validation_are_told() -> None:
    found = split(
        TRAIN, validation=[row(100, "a"), row(101, "b")], test=[row(101, "b"), row(5, "b")]
    )
    assert Counter(note.split(",")[0] for note in found.notes if "too" in note) == Counter(
        [
            "warning: 1 of 2 test rows are in train too",
            "warning: 1 of 2 test rows are in validation too",
        ]
    )


def test_labels_that_are_one_number_are_told(tmp_path: Path) -> None:
    """pandas writes class 1 as 1.0; versions 1 and 1.0 are two."""
    rows = "".join(f"text {index},{['1', '1.0', '01', '2'][index % 4]}\n" for index in range(8))
    (tmp_path / "train.csv").write_text(f"text,label\n{rows}")
    source = registry.create("sources", "csv", {"path": str(tmp_path)})
    assert {row["label"] for row in source.read()["train"]} == {"1", "01", "2"}
    (told,) = source.notes
    assert told.startswith("labels: `1.0` as `1` was read, which is the same number")
    (tmp_path / "train.csv").write_text("text,label\na,1\nb,2\n")
    assert source.read()["train"] and source.notes == []
