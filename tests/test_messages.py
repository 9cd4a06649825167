"""Dialogues in files: as OpenAI, ShareGPT and others write them, and what is wrong with one."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from limbeck.sources import Row
from limbeck.sources.csv import Csv
from limbeck.sources.jsonl import Jsonl
from limbeck.sources.parquet import Parquet

ASKED, ANSWERED = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}


def bare(rows: list[Row]) -> list[Row]:
    """Rows without where they stand."""
    return [{key: value for key, value in row.items() if key != "place"} for row in rows]


def of_jsonl(folder: Path, *records: Any, **keys: Any) -> list[dict[str, Any]]:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return bare(Jsonl(str(path), **keys).read()["train"])


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [ASKED, ANSWERED]},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        {"turns": [{"role": "Customer", "text": "Hi"}, {"role": "Agent", "text": "Hello"}]},
        {"prompt": "Hi", "response": "Hello"},
        {"instruction": "Hi", "output": "Hello"},
        {"id": 7, "question": "Hi", "answer": "Hello"},
    ],
)
def test_dialogues_are_read_as_others_write_them(record: dict[str, Any], tmp_path: Path) -> None:
    assert of_jsonl(tmp_path, record) == [{"messages": [ASKED, ANSWERED]}]


def test_columns_may_be_named(tmp_path: Path) -> None:
    record = {"chat": [ASKED, ANSWERED], "label": "greeting", "q": "Hi", "a": "Hello"}
    assert of_jsonl(tmp_path, record, messages="chat") == [{"messages": [ASKED, ANSWERED]}]
    assert of_jsonl(tmp_path, record, prompt="q", response="a") == [{"messages": [ASKED, ANSWERED]}]


def test_a_column_that_may_be_a_label_makes_texts_to_classify(tmp_path: Path) -> None:
    (row,) = of_jsonl(tmp_path, {"question": "Hi", "answer": "Hello", "label": "greeting"})
    assert row == {"text": "Hi", "label": "greeting"}


def test_tables_hold_dialogues_too(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["messages"])
        writer.writerow([json.dumps([ASKED, ANSWERED])])
        writer.writerow([str([ASKED, ANSWERED])])
    assert bare(Csv(str(path)).read()["train"]) == 2 * [{"messages": [ASKED, ANSWERED]}]
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"messages": [[ASKED, ANSWERED]]})
    parquet.write_table(table, tmp_path / "train.parquet")
    assert bare(Parquet(str(tmp_path / "train.parquet")).read()["train"]) == [
        {"messages": [ASKED, ANSWERED]}
    ]


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"messages": []}, "messages: no message"),
        ({"messages": "Hi"}, "messages: no list of messages. Write it as JSON"),
        ({"messages": 3}, "a list of messages is needed"),
        ({"messages": ["Hi"]}, "messages: message 1 is no object"),
        ({"messages": [ASKED]}, "no message of the assistant"),
        (
            {"messages": [ASKED, {"role": "assistant", "content": " "}]},
            "messages: message 2 is empty",
        ),
        (
            {"messages": [ASKED, {"role": "assistant", "content": None}]},
            "messages: message 2 is empty",
        ),
        (
            {"messages": [ASKED, {"role": "assistant", "content": 3}]},
            "message 2: a text is needed, not int",
        ),
        ({"messages": [ASKED, {"role": "robot", "content": "a"}]}, "message 2: `robot` is no role"),
        ({"messages": [ASKED, {"content": "a"}]}, "message 2 has no role (it has content)"),
        (
            {"messages": [ASKED, {"role": "user", "says": "a"}]},
            "message 2 has no content (it has role, says)",
        ),
        ({"prompt": "Hi", "response": ""}, "response is empty"),
        ({"prompt": None, "response": "Hello"}, "prompt is empty"),
    ],
)
def test_a_bad_dialogue_is_told_by_file_line_and_message(
    record: Any, told: str, tmp_path: Path
) -> None:
    good = (
        {"prompt": "Hi", "response": "Hello"}
        if "prompt" in record
        else {"messages": [ASKED, ANSWERED]}
    )
    with pytest.raises(ValueError, match=":2: ") as caught:
        of_jsonl(tmp_path, good, record)
    assert f"{tmp_path / 'train.jsonl'}:2: " in str(caught.value)
    assert told in str(caught.value)


def test_unlabelled_rows_need_no_answer(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps({"messages": [ASKED, ANSWERED]}) + "\n")
    (tmp_path / "unlabelled.jsonl").write_text(json.dumps({"messages": [ASKED]}) + "\n")
    (row,) = Jsonl(str(tmp_path)).read()["unlabelled"]
    assert row == {"messages": [ASKED], "place": f"{tmp_path / 'unlabelled.jsonl'}:1"}
