"""What rows of dialogues hold beside a prompt and its response, and in messages: read, or refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from limbeck.artifact.evaluate_texts import rows_from_dicts
from limbeck.sources.csv import Csv
from limbeck.sources.jsonl import Jsonl

ANSWERED = {"role": "assistant", "content": "Hello"}


def asked(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def messages_of(folder: Path, *records: dict[str, Any], **keys: Any) -> list[Any]:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return [row["messages"] for row in Jsonl(str(path), **keys).read()["train"]]


SYSTEM = {"role": "system", "content": "Be short"}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            {"instruction": "Translate", "input": "Salut", "output": "Hello"},
            [asked("Translate\n\nSalut"), ANSWERED],
        ),
        ({"instruction": "Greet", "input": "", "output": "Hello"}, [asked("Greet"), ANSWERED]),
        (
            {"instruction": "Say", "context": "Of it", "response": "Hello"},
            [asked("Say\n\nOf it"), ANSWERED],
        ),
        # A prompt of that name is no material.
        ({"input": "Hi", "output": "Hello"}, [asked("Hi"), ANSWERED]),
        (
            {
                "system": "Be short",
                "history": [["1", "2"]],
                "instruction": "Hi",
                "output": "Hello",
            },
            [SYSTEM, asked("1"), {"role": "assistant", "content": "2"}, asked("Hi"), ANSWERED],
        ),
        ({"system": "Be short", "messages": [asked("Hi"), ANSWERED]}, [SYSTEM, asked("Hi"), ANSWERED]),
        ({"prompt": [asked("Hi")], "completion": [ANSWERED]}, [asked("Hi"), ANSWERED]),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, ANSWERED]},
            [asked("Hi"), ANSWERED],
        ),
        (
            {"messages": [asked("Hi"), ANSWERED | {"weight": 1, "refusal": None, "tool_calls": []}]},
            [asked("Hi"), ANSWERED],
        ),
    ],
)  # fmt: skip
def test_what_stands_beside_is_read(record: Any, expected: Any, tmp_path: Path) -> None:
    assert messages_of(tmp_path, record) == [expected]
    (row,) = rows_from_dicts([record])
    assert row["messages"] == expected


def test_named_columns_and_tables_read_it_too(tmp_path: Path) -> None:
    record = {"instruction": "Say", "input": "Hi", "output": "Hello"}
    expected = [[asked("Say\n\nHi"), ANSWERED]]
    named = {"prompt": "instruction", "response": "output"}
    assert messages_of(tmp_path, record, **named) == expected
    # The first row need not have the column.
    first = {"instruction": "Hi", "output": "Hello"}
    assert messages_of(tmp_path, first, record)[1:] == expected
    # A column that the recipe reads otherwise is no part of the question.
    assert messages_of(tmp_path, record, slices=["input"]) == [[asked("Say"), ANSWERED]]
    path = tmp_path / "train.csv"
    path.write_text("instruction,input,output\nSay,Hi,Hello\nSay,,Hello\n")
    read = [row["messages"] for row in Csv(str(path)).read()["train"]]
    assert read == [*expected, [asked("Say"), ANSWERED]]


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (
            {"messages": [asked("Hi"), ANSWERED | {"weight": 0}]},
            "message 2: `weight: 0`: every answer is learned",
        ),
        (
            {"messages": [asked("Hi") | {"name": "Bob"}, ANSWERED]},
            "message 1: `name` (which of several speakers this is) is not read",
        ),
        (
            {"messages": [asked("Hi"), {"role": "assistant", "content": None, "tool_calls": [{}]}]},
            "message 2: `tool_calls` (calls of tools) is not read",
        ),
        (
            {"messages": [asked("Hi"), ANSWERED | {"content": [{"type": "image_url"}]}]},
            "message 2[0]: a part of type `image_url` is no text",
        ),
        ({"messages": [asked("a\0b"), ANSWERED]}, "message 1: a NUL character"),
        (
            {"prompt": [asked("Hi"), ANSWERED, asked("So")], "completion": [ANSWERED]},
            "prompt: an answer stands in it",
        ),
        (
            {"prompt": "Hi", "chosen": [asked("Hi"), ANSWERED]},
            "chosen: its first message is of the role user",
        ),
        (
            {"prompt": "Hi", "history": ["a", "b"], "response": "Hello"},
            "history: pairs of a question and its answer are needed",
        ),
        (
            {"prompt": [asked("Hi")], "input": "this", "response": "Hello"},
            "input: where it stands is unknown",
        ),
    ],
)  # fmt: skip
def test_what_is_not_read_is_refused_by_line_and_name(
    record: Any, told: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"train\.jsonl:1: ") as caught:
        messages_of(tmp_path, record)
    assert told in str(caught.value)


def test_the_worse_answer_of_a_pair_is_told_to_be_unread(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"prompt": "Hi", "chosen": "Hello", "rejected": "No"}) + "\n")
    source = Jsonl(str(path))
    source.read()
    assert [note for note in source.notes if "`rejected` is not read" in note] == source.notes
    assert len(source.notes) == 1
