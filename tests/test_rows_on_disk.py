"""Dialogues and plain texts that lie on disk: the rows, splits and keys of those that are held, in bounded memory."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limbeck.data.splits import Splits, load_splits
from limbeck.recipe.model import Data
from limbeck.sources import _on_disk
from limbeck.sources._on_disk import RowCollector, RowFile, RowsOnDisk, changed, joined, picked
from limbeck.tasks import packed
from limbeck.tasks.masked_lm import MaskedLm
from limbeck.tasks.text_generation import TextGeneration

ODD = ["Grüße 你好 \U0001f600", 'quotes " and \\ and \n ends', "\u2028 \x7f", "a" * 3000]


def dialogue(number: int) -> dict[str, Any]:
    asked = {"role": "user", "content": f"where is parcel {number % 23}? {ODD[number % 4]}"}
    answer = {"role": "assistant", "content": f"parcel {number % 7} is on its way"}
    return {"messages": [asked, answer], "order": str(number // 3)}


def write(folder: Path, kind: str, count: int, test: int = 0) -> None:
    folder.mkdir()
    splits = {"train": range(count), "test": range(count, count + test)}
    for split, numbers in splits.items():
        rows = [dialogue(number) for number in numbers]
        if not rows:
            continue
        if kind == "jsonl":
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"{split}.jsonl").write_text(text)
            continue
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"{split}.parquet")


def test_rows_come_back_as_they_were_and_in_any_order() -> None:
    rows = [dialogue(number) | {"place": f"x:{number}"} for number in range(9)]
    kept = RowFile().add(rows)
    assert len(kept) == 9 and list(kept) == rows and kept[-1] == rows[-1]
    assert isinstance(kept[2:5], RowsOnDisk) and list(kept[2:5]) == rows[2:5]
    assert list(picked(kept, [7, 0, 7])) == [rows[7], rows[0], rows[7]]
    assert picked(rows, [7, 0]) == [rows[7], rows[0]]
    other = RowFile().add(rows[:2])
    for first, second in ((kept, other), (kept, rows[:2]), (rows, other), (rows, rows[:2])):
        assert list(joined(first, second)) == [*rows, *rows[:2]]
    # What was joined leaves both as they were, and so does a change.
    assert list(joined(kept, [])) == rows == list(kept) and list(other) == rows[:2]
    assert list(changed(kept, lambda row: {"place": row["place"]}))[8] == {"place": "x:8"}
    assert list(joined(picked(kept, [8, 1]), other)) == [rows[8], rows[1], *rows[:2]]
    with pytest.raises(IndexError):
        kept[9]


def test_few_rows_and_texts_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_on_disk, "HELD_ROWS", 4)
    kinds = []
    labelled = {"text": "x", "label": "y"}
    for row, count in ((dialogue(1), 3), (dialogue(1), 9), (labelled, 9), ({"text": "x"}, 9)):
        collector = RowCollector()
        for _ in range(count):
            collector.append(row)
        rows = collector.rows()
        assert list(rows) == [row] * count
        kinds.append(type(rows))
    assert kinds == [list, RowsOnDisk, list, RowsOnDisk]


def loaded(folder: Path, kind: str, **keys: Any) -> Splits:
    asked = Data.model_validate({"source": kind, "path": str(folder), **keys})
    return load_splits(asked, TextGeneration)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("keys", [{}, {"group": "order"}, {"slices": ["order"]}], ids=str)
@pytest.mark.parametrize("test", [0, 11])
def test_splits_are_those_of_rows_that_are_held(
    kind: str, keys: dict[str, Any], test: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "data", kind, 97, test)
    held = loaded(tmp_path / "data", kind, **keys)
    monkeypatch.setattr(_on_disk, "HELD_ROWS", 5)
    monkeypatch.setattr(_on_disk, "READ_TOGETHER", 7)
    kept = loaded(tmp_path / "data", kind, **keys)
    assert isinstance(held.train, list) and isinstance(kept.train, RowsOnDisk)
    for split in ("train", "validation", "test"):
        assert list(getattr(kept, split)) == getattr(held, split)
        assert kept.fingerprint(split) == held.fingerprint(split)
    for each in fields(Splits):
        if each.name not in ("train", "validation", "test", "promise"):
            assert getattr(kept, each.name) == getattr(held, each.name)
    # Equal dialogues are there, which go together and are told where they do not.
    assert len(kept.train) + len(kept.validation) + len(kept.test) == 97 + test


def test_a_bad_row_is_named_by_its_line_however_many_were_written_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_on_disk, "HELD_ROWS", 5)
    write(tmp_path / "data", "jsonl", 40)
    with (tmp_path / "data" / "train.jsonl").open("a") as file:
        file.write('{"messages": [{"role": "wizard", "content": "x"}]}\n')
    with pytest.raises(ValueError, match=r"train\.jsonl:41: messages: message 1: `wizard` is no"):
        loaded(tmp_path / "data", "jsonl")
    skipped = loaded(tmp_path / "data", "jsonl", on_bad_row="skip")
    assert skipped.num_bad == 1


@pytest.mark.parametrize("task", [TextGeneration, MaskedLm])
def test_plain_texts_on_disk_are_split_and_encoded_as_those_that_are_held(
    task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"line {number} {ODD[number % 2]}".replace("\n", " ") for number in range(83)]
    (tmp_path / "train.txt").write_text("\n".join(lines), encoding="utf-8")
    asked = Data.model_validate({"source": "text", "path": str(tmp_path)})
    held = load_splits(asked, task)
    monkeypatch.setattr(_on_disk, "HELD_ROWS", 5)
    monkeypatch.setattr(_on_disk, "READ_TOGETHER", 7)
    kept = load_splits(asked, task)
    assert isinstance(held.train, list) and isinstance(kept.train, RowsOnDisk)
    for split in ("train", "validation", "test"):
        assert list(getattr(kept, split)) == list(getattr(held, split))
        assert kept.fingerprint(split) == held.fingerprint(split)
    assert kept.notes == held.notes


MEASURED = """
import json, resource, sys
from pathlib import Path
from limbeck.data.splits import load_splits
from limbeck.recipe.model import Data
from limbeck.tasks.masked_lm import MaskedLm
from limbeck.tasks.text_generation import TextGeneration
splits = load_splits(Data.model_validate({"source": "jsonl", "path": sys.argv[1]}), TextGeneration)
assert len(splits.train) > 1
splits.fingerprint("train")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_more_rows_take_little_more_memory(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    peak = {}
    for count in (30_000, 130_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for split, first, last in (("train", 0, count), ("valid", -1, 0), ("test", -2, -1)):
            with (folder / f"{split}.jsonl").open("w") as file:
                for number in range(first, last):
                    turns = [
                        {"role": "user", "content": f"where is parcel {number}? " * 8},
                        {"role": "assistant", "content": f"parcel {number} is on its way. " * 8},
                    ]
                    file.write(json.dumps({"messages": turns}) + "\n")
        told = subprocess.run(
            [sys.executable, "-c", MEASURED, str(folder)],
            capture_output=True,
            text=True,
            check=True,
        )
        peak[count] = int(told.stdout) * 1024
    # As Python objects each of these rows takes 1,700 bytes or more.
    assert peak[130_000] - peak[30_000] < 100_000 * 300


def test_an_array_that_grows_is_the_file_that_numpy_writes(tmp_path: Path) -> None:
    parts = [np.arange(5, dtype=np.int32), np.arange(0, dtype=np.int32), np.arange(7, 300, 2)]
    parts[2] = parts[2].astype(np.int32)
    growing = packed.Growing(tmp_path / "grown.npy")
    for part in parts:
        growing.append(part)
    growing.close()
    np.save(tmp_path / "whole.npy", np.concatenate(parts))
    assert (tmp_path / "grown.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    packed.Growing(tmp_path / "none.npy").close()
    assert not (tmp_path / "none.npy").exists()
