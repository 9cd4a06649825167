"""How `limbeck.data` draws the splits of what a source reads, and cuts them into batches."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data.batches import batch_plan, in_order
from limbeck.data.drawing import draw, drawable
from limbeck.data.sampling import stratified_split
from limbeck.data.splits import Splits, load_splits
from limbeck.recipe.model import Data
from limbeck.sources.csv import Csv
from limbeck.sources.jsonl import Jsonl
from limbeck.sources.rows import Rows
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.text_classification import TextClassification
from limbeck.tasks.token_classification import TokenClassification

Folder = Callable[..., Path]
GOOD = "-DOCSTART- -X- O\n\nAda B-PER\nLovelace I-PER\nlives O\n\nYork B-LOC\n"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A conll folder: train and test are good unless given; bytes are written as they are."""

    def write(**files: str | bytes | None) -> Path:
        for name, content in ({"train": GOOD, "test": GOOD} | files).items():
            if content is not None:
                (tmp_path / f"{name}.txt").write_bytes(
                    content if isinstance(content, bytes) else content.encode()
                )
        return tmp_path

    return write


@pytest.fixture(scope="module")
def digits() -> Splits:
    return load_splits(Data(source="sklearn"), ImageClassification)


def test_splits_that_a_source_lacks_are_drawn_stratified_and_noted(digits: Splits) -> None:
    assert len(digits.train) + len(digits.validation) + len(digits.test) == 1797
    assert digits.labels == list("0123456789")
    every = Counter(
        row["label"] for split in (digits.train, digits.validation, digits.test) for row in split
    )
    for label, count in Counter(row["label"] for row in digits.test).items():
        assert abs(count - 0.2 * every[label]) < 1
    for label, count in Counter(row["label"] for row in digits.validation).items():
        assert abs(count - 0.1 * 0.8 * every[label]) < 1.1
    assert digits.notes == [
        f"test: {len(digits.test)} rows drawn from train (seeded, stratified)",
        f"validation: {len(digits.validation)} rows drawn from train (seeded, stratified)",
    ]


def test_no_row_is_in_two_splits(digits: Splits) -> None:
    ids = [id(row) for split in (digits.train, digits.validation, digits.test) for row in split]
    assert len(set(ids)) == len(ids) == 1797


def test_drawing_is_seeded_and_the_fingerprint_tells_rows_apart(digits: Splits) -> None:
    again = load_splits(Data(source="sklearn"), ImageClassification)
    for split in ("train", "validation", "test"):
        assert again.fingerprint(split) == digits.fingerprint(split)
    assert len({digits.fingerprint(split) for split in ("train", "validation", "test")}) == 3
    changed = [{**row, "image": row["image"].copy()} for row in digits.train]
    changed[3]["image"][0, 0] ^= 1
    assert Splits(changed, [], [], digits.labels).fingerprint("train") != digits.fingerprint(
        "train"
    )
    assert Splits(digits.train[::-1], [], [], digits.labels).fingerprint(
        "train"
    ) != digits.fingerprint("train")


@given(st.lists(st.sampled_from("abc"), max_size=60), st.sampled_from([0.1, 0.2]))
def test_a_stratified_split_keeps_shares_order_and_every_row(
    labels: list[str], share: float
) -> None:
    rows = [{"label": label, "number": number} for number, label in enumerate(labels)]
    kept, drawn = stratified_split(rows, share, lambda row: row["label"])
    assert sorted(row["number"] for row in kept + drawn) == list(range(len(rows)))
    for part in (kept, drawn):
        numbers = [row["number"] for row in part]
        assert numbers == sorted(numbers)
    for label, count in [*Counter(labels).items(), ("abc", len(labels))]:
        assert abs(sum(row["label"] in label for row in drawn) - share * count) < 1
    assert (kept, drawn) == stratified_split(rows, share, lambda row: row["label"])


def test_rows_of_small_strata_are_drawn_as_often_as_any() -> None:
    """As of label sets, of which most are seen once."""
    rows = [{"label": str(number if number < 500 else "often")} for number in range(1000)]
    _, drawn = stratified_split(rows, 0.1, lambda row: row["label"])
    assert abs(sum(row["label"] != "often" for row in drawn) - 50) < 1


def test_rows_that_come_in_turns_are_drawn_as_often_as_one_another() -> None:
    """Ten sources of a corpus that take turns: every tenth row in order would be one source's."""
    rows = [{"label": "a", "source": number % 10} for number in range(1000)]
    _, drawn = stratified_split(rows, 0.1, lambda row: row["label"])
    by_source = Counter(row["source"] for row in drawn)
    assert len(by_source) == 10
    assert max(by_source.values()) < 25


def read_text(path: Path) -> Splits:
    return load_splits(Data(source="conll", path=str(path)), TokenClassification)


MANY = "Ada B-PER\n\nYork B-LOC\n\nin O\n\n" * 20


def test_text_splits(folder: Folder) -> None:
    found = read_text(folder(train=MANY, test="Ada B-PER\n", unlabelled="York\n"))
    assert found.labels == ["O", "B-LOC", "B-PER"]
    assert len(found.validation) == 6
    assert Counter(row["tags"][0] for row in found.validation) == {"O": 2, "B-PER": 2, "B-LOC": 2}
    assert found.train[-1] == {"words": ["York"], "tags": [None]}
    assert len(found.train) == 54 + 1
    assert found.notes[0] == "validation: 6 rows drawn from train (seeded, stratified)"
    assert "equal ones are drawn apart" in found.notes[1]
    assert found.notes[2].startswith("warning: 6 of 6 validation rows are in train too")


def test_a_drawn_split_is_never_refused_for_a_label_it_took(folder: Folder) -> None:
    """Whichever sentence holds the one I- tag: the rows are valid, and the split is ours."""
    for place in range(20):
        sentences = ["Ada B-PER\n"] * 20
        sentences[place] += "Love I-PER\n"
        read_text(folder(train="\n".join(sentences), test="Ada B-PER\n"))


def test_of_every_label_a_row_stays_in_train() -> None:
    """Every group begins with `a`, so that the draw does not see the few of `b` behind it."""
    lost = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        with_b = set(rng.choice(20, 2, replace=False).tolist())
        rows = []
        for group in range(20):
            labels = ["a"] * 3 + ["b" if group in with_b else "a"]
            for number, label in enumerate(labels):
                rows.append({"text": f"{group} {number}", "label": label, "group": group})
        units = drawable(rows, TextClassification)
        plain, _ = stratified_split(rows, 0.5, TextClassification.stratum, units)
        lost += "b" not in {row["label"] for row in plain}
        staying, leaving, _ = draw(rows, 0.5, TextClassification)
        assert {row["label"] for row in staying} == {"a", "b"}
        assert {row["group"] for row in staying}.isdisjoint(row["group"] for row in leaving)
        assert len(leaving) > 30
    assert lost > 0


def test_what_a_drawn_split_lacks_is_told() -> None:
    rows = [{"text": f"a {n}", "label": "a"} for n in range(100)]
    rows += [{"text": f"{label} {n}", "label": label} for label in "bc" for n in range(2)]
    rows += [{"text": "d", "label": "d"}]
    found = load_splits(Data(source="rows"), TextClassification, rows={"train": rows})
    notes = [note for note in found.notes if "no drawn row" in note]
    lacking = {
        split: sorted({"a", "b", "c"} - {row["label"] for row in of_split})
        for split, of_split in (("test", found.test), ("validation", found.validation))
    }
    assert any(lacking.values())
    for split, labels in lacking.items():
        told = [note for note in notes if note.startswith(f"{split}: no drawn row has ")]
        assert len(told) == bool(labels)
        for label in labels:
            assert label in told[0] and "of 4 labels" in told[0]


@pytest.mark.parametrize("split", ["test", "valid"])
def test_an_empty_split_is_named(folder: Folder, split: str) -> None:
    named = "validation" if split == "valid" else split
    with pytest.raises(ValueError, match=rf"the {named} split of `conll` is empty"):
        read_text(folder(**{"train": MANY, "test": "Ada B-PER\n", split: "\n\n"}))


def test_an_empty_train_split_is_named(folder: Folder) -> None:
    with pytest.raises(ValueError, match=r"the train split of `conll` is empty"):
        read_text(folder(train="", valid=MANY, test=MANY))


def test_one_class_is_nothing_to_learn(folder: Folder) -> None:
    with pytest.raises(ValueError, match=r"one class only \(O\); nothing can be learned"):
        read_text(folder(train="in O\n\n" * 20, test="in O\n"))


sizes = st.lists(st.integers(1, 60), min_size=1, max_size=200)


@settings(max_examples=60)
@given(sizes, st.integers(1, 200), st.integers(0, 5), st.integers(0, 5))
def test_an_epoch_holds_every_row_once_within_the_budget(
    sizes: list[int], budget: int, seed: int, epoch: int
) -> None:
    plan = batch_plan(sizes, budget, seed=seed, epoch=epoch)
    assert sorted(np.concatenate(plan).tolist()) == list(range(len(sizes)))
    for rows in plan:
        assert len(rows) == 1 or max(sizes[row] for row in rows) * len(rows) <= budget


@settings(max_examples=30)
@given(sizes, st.integers(1, 200), st.integers(0, 5), st.integers(0, 5))
def test_a_plan_is_a_pure_function_of_seed_and_epoch(
    sizes: list[int], budget: int, seed: int, epoch: int
) -> None:
    def plan() -> list[list[int]]:
        return [rows.tolist() for rows in batch_plan(sizes, budget, seed=seed, epoch=epoch)]

    first = plan()
    np.random.random(3)
    assert plan() == first


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    plans = {
        str([rows.tolist() for rows in batch_plan([1] * 100, 10, seed=seed, epoch=epoch)])
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(plans) == 9


def test_little_of_a_batch_is_padding() -> None:
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.gamma(2, 10, 2000).astype(int), 1, 128).tolist()
    plan = batch_plan(lengths, 1024, seed=0, epoch=0)
    padded = sum(max(lengths[row] for row in rows) * len(rows) for rows in plan)
    assert sum(lengths) / padded > 0.9


@settings(max_examples=30)
@given(sizes, st.integers(1, 200))
def test_evaluation_batches_hold_every_row_once_within_the_budget(
    sizes: list[int], budget: int
) -> None:
    plan = in_order(sizes, budget)
    assert sorted(np.concatenate(plan).tolist()) == list(range(len(sizes)))
    assert all(
        len(rows) == 1 or max(sizes[row] for row in rows) * len(rows) <= budget for rows in plan
    )


@pytest.mark.parametrize(
    "sizes", [[1] * 400, [9] * 150 + [5] * 250], ids=["images", "texts of two lengths"]
)
def test_the_rows_of_a_batch_do_not_follow_the_order_of_the_data(sizes: list[int]) -> None:
    """Data are often sorted by label, and a batch of one label teaches a network, and its batch norms, nothing of the others."""
    halves = np.arange(400) % 200 >= 100 if 9 in sizes else np.arange(400) >= 200
    for epoch in range(3):
        plan = [
            rows
            for rows in batch_plan(sizes, 16 * max(sizes), seed=0, epoch=epoch)
            if len(rows) == 16
        ]
        mixed = [halves[rows].any() and not halves[rows].all() for rows in plan]
        assert np.mean(mixed) > 0.9


def test_an_empty_cell_is_no_group_and_no_name_of_a_slice(tmp_path: Path) -> None:
    cells = ["ann", "", "  ", "bob", "ann"]
    table = [f"text {number},a,{cell}" for number, cell in enumerate(cells)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label,who", *table]) + "\n")
    records = [
        {"text": f"text {number}", "label": "a", "who": cell or None}
        for number, cell in enumerate(cells)
    ]
    lines = [json.dumps(record) for record in records]
    (tmp_path / "train.jsonl").write_text("\n".join(lines) + "\n")
    given = [{**record, "who": record["who"] or float("nan")} for record in records]
    beside: Any = {"group": "who", "slices": ["who"]}
    for rows in (
        Csv(str(tmp_path / "train.csv"), **beside).read()["train"],
        Jsonl(str(tmp_path / "train.jsonl"), **beside).read()["train"],
        Rows(**beside).take({"train": given})["train"],
    ):
        assert [row.get("group") for row in rows] == ["ann", None, None, "bob", "ann"]
        assert [row["slices"]["who"] for row in rows] == ["ann", "", "", "bob", "ann"]
