"""`limbeck init` of rows within rows: nested objects and runs of characters are read; dialogues and tables that belong together are refused with a command that makes what is read."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_files_as_they_lie import read

from limbeck.artifact.rows.columns import ColumnFinder
from limbeck.artifact.rows.inputs import Reading, read_items
from limbeck.cli.first_recipe import look as starter
from limbeck.sources.jsonl import flat

Dump = Callable[[list[Any]], str]


def utterance(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "utterance": {"text": f"so we went to town {number} together", "speaker": f"s{number % 9}"},
        "annotation": {"emotion": ("joy", "anger")[number % 2]},
    }


def as_lines(rows: list[Any]) -> str:
    return "\n".join(map(json.dumps, rows))


def as_data(rows: list[Any]) -> str:
    return json.dumps({"version": "1", "data": rows})


@pytest.mark.parametrize("dump", [as_lines, json.dumps, as_data])
def test_objects_in_a_row_are_columns(dump: Dump, tmp_path: Path) -> None:
    """MELD as people nest it: utterance.text and annotation.emotion; a later file is read by the same names."""
    (tmp_path / "train.json").write_text(dump([utterance(n) for n in range(40)]))
    guess = starter.look(tmp_path)
    assert (guess.options["text"], guess.options["label"]) == (
        "utterance.text",
        "annotation.emotion",
    )
    row = read("jsonl", tmp_path, text="utterance.text", label="annotation.emotion")["train"][1]
    assert row == {"text": "so we went to town 1 together", "label": "anger"}
    reading = Reading(ColumnFinder("text", {}, {"source": "jsonl", **guess.options}))
    items = list(read_items(str(tmp_path / "train.json"), None, reading))
    assert items[1].raw == "so we went to town 1 together"
    assert items[1].others["annotation.emotion"] == "anger"
    # Where training had no such column, other columns come back as they were sent.
    other = Reading(ColumnFinder("text", {}, {"source": "jsonl", "text": "text"}))
    (tmp_path / "new.jsonl").write_text('{"text": "fine", "meta": {"id": 3}}\n')
    assert next(iter(read_items(str(tmp_path / "new.jsonl"), None, other))).others == {
        "meta": {"id": 3}
    }


def test_what_is_no_column_stays_an_object() -> None:
    """Spans by their names, objects too deep, and an empty one."""
    deep: dict[str, Any] = {"text": "x"}
    for _ in range(900):
        deep = {"a": deep}
    for row in (
        {"label": {"name": {"Ada": [[0, 3]]}}},
        {"entities": {"entities": [[0, 1, "A"]]}},
        {"a": {}},
    ):
        assert flat(row) == row
    assert list(flat(deep)) == ["a"]
    assert flat([1, 2]) == [1, 2]


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=" in that folder: ") as caught:
        starter.look(path)
    return str(caught.value)


def typed(message: str, folder: Path) -> Path:
    """The folder that the command of a refusal gives to `limbeck init`, once its first part was run."""
    line = message.partition("in that folder: ")[2]
    making, _, giving = line.rpartition(" && ")
    subprocess.run(making, shell=True, check=True, cwd=folder)
    return folder / giving.rpartition(" ")[2]


TURNS = [
    {"text": f"well I do not know about that {n}", "act": ("ask", "tell")[n % 2]} for n in range(6)
]
DIALOG = {
    "dialog": [turn["text"] for turn in TURNS],
    "act": [0, 1, 0, 1, 0, 1],
    "emotion": [2, 2, 1, 2, 1, 2],
}


@pytest.mark.parametrize("dump", [as_lines, json.dumps, as_data])
@pytest.mark.parametrize(
    "row", [{"dialogue_id": 7, "turns": TURNS}, DIALOG], ids=["objects", "lists"]
)
def test_dialogues_become_a_row_for_each_turn(
    dump: Dump, row: dict[str, Any], tmp_path: Path
) -> None:
    """DailyDialog's lists were texts of joined turns with several labels."""
    for split in ("train", "test"):
        (tmp_path / f"it's {split}.json").write_text(dump([row] * 8))
    message = refusal(tmp_path)
    assert "a row is a dialogue, whose turns" in message
    guess = starter.look(typed(message, tmp_path))
    assert sorted(guess.files) == ["test", "train"]
    (line, *_) = (tmp_path / "rows/it's train.jsonl").read_text().splitlines()
    assert json.loads(line)[guess.options["text"]] == TURNS[0]["text"]


def test_all_pieces_of_dialogues_are_written(tmp_path: Path) -> None:
    """In a script without spaces too."""
    turns = [{"text": "我们今天去城里看电影", "act": "ab"[n % 2]} for n in range(6)]
    for piece in (0, 1):
        (tmp_path / f"train-0000{piece}-of-00002.jsonl").write_text(
            as_lines([{"turns": turns}] * 8)
        )
    guess = starter.look(typed(refusal(tmp_path), tmp_path))
    assert len(guess.files["train"]) == 2


@pytest.mark.parametrize(
    "row",
    [
        {"text": "we went to the town of York", "label": "a", "evidence": TURNS},
        {"text": "Ada lives", "label": "b", "spans": [{"text": "the Ada of York", "start": 0, "end": 3, "label": "PER"}]},
        {"tokens": ["Ada", "lives"], "ner_tags": ["B-PER", "O"]},
    ],
)  # fmt: skip
def test_lists_beside_a_text_are_no_dialogue(row: dict[str, Any], tmp_path: Path) -> None:
    other = {**row, "label": "c"} if "label" in row else row
    (tmp_path / "train.jsonl").write_text(as_lines([row, other] * 10))
    assert starter.look(tmp_path).source == "jsonl"


def test_a_question_with_choices_is_told_as_such(tmp_path: Path) -> None:
    row = {"question": "q?", "choices": ["to be or not", "or to be or"], "scores": [0, 1]}
    (tmp_path / "train.jsonl").write_text(as_lines([row] * 9))
    with pytest.raises(ValueError, match="a question with choices"):
        starter.look(tmp_path)


def bodies(start: int) -> str:
    rows = (f'{start + n},"A meteor, so they say, fell on town {n}"\n' for n in range(12))
    return "Body ID,articleBody\n" + "".join(rows)


def stances(start: int) -> str:
    rows = (
        f"Meteor falls on town {n % 5},{start + n % 12},{('agree', 'unrelated')[n % 2]}\n"
        for n in range(40)
    )
    return "Headline,Body ID,Stance\n" + "".join(rows)


def test_tables_that_belong_together_are_joined(tmp_path: Path) -> None:
    """FNC-1: bodies and stances by the id of the body, for train and test."""
    made = {
        "train_bodies.csv": bodies(0),
        "train_stances.csv": stances(0),
        "test_bodies.csv": bodies(90),
        "test_stances.csv": stances(90),
    }
    for name, content in made.items():
        (tmp_path / name).write_text(content)
    message = refusal(tmp_path)
    assert (
        "the texts of train_bodies.csv and the labels of train_stances.csv belong together by `Body ID`"
        in message
    )
    guess = starter.look(typed(message, tmp_path))
    assert sorted(guess.files) == ["test", "train"]
    assert guess.options["label"] == "Stance"
    rows = (tmp_path / "rows/test.csv").read_text().splitlines()
    assert (len(rows), rows[0]) == (41, "Body ID,articleBody,Headline,Stance")


def test_another_table_beside_train_is_none_of_its_texts(tmp_path: Path) -> None:
    """Users by their id, beside texts that have labels."""
    lines = "".join(f"{n % 6},we went to town {n},{'ab'[n % 2]}\n" for n in range(40))
    (tmp_path / "train.csv").write_text("user_id,text,label\n" + lines)
    (tmp_path / "users.csv").write_text(
        "user_id,name\n" + "".join(f"{n},the user {n} of town\n" for n in range(6))
    )
    assert starter.look(tmp_path).files["train"] == [tmp_path / "train.csv"]


def test_runs_of_characters_are_spans(tmp_path: Path) -> None:
    """SemEval's toxic spans: each run of numbers is a span; a list of numbers under another name may be labels."""
    lines = "".join(
        f'"[0, 1, 2, 8, 9, 10, 11]",The bad dude number {n}\n"[]",All is well {n}\n'
        for n in range(20)
    )
    (tmp_path / "train.csv").write_text("spans,text\n" + lines)
    guess = starter.look(tmp_path)
    assert (guess.task, guess.options) == (
        "token-classification",
        {"text": "text", "spans": "spans"},
    )
    rows = read("csv", tmp_path, text="text", spans="spans")["train"]
    assert rows[0]["tags"] == ["B-span", "O", "B-span", "O", "O"]
    assert rows[1]["tags"] == ["O"] * 4
    (tmp_path / "train.csv").write_text("topics,text\n" + lines)
    assert starter.look(tmp_path).task == "multi-label-classification"


INTENTS = [
    {"tag": tag, "patterns": [f"{word} {tag}" for word in ("hi", "I want a")], "responses": ["ok"]}
    for tag in ("greeting", "refund", "hours")
]


@pytest.mark.parametrize("content", [{"intents": INTENTS}, INTENTS], ids=["intents", "a list"])
def test_examples_of_an_intent_become_a_row_each(content: object, tmp_path: Path) -> None:
    """They were one text: the patterns of each intent, joined."""
    (tmp_path / "intents.json").write_text(json.dumps(content))
    message = refusal(tmp_path)
    assert "a row has a list of texts (patterns)" in message
    guess = starter.look(typed(message, tmp_path))
    assert (guess.options["text"], guess.options["label"]) == ("text", "tag")
    lines = (tmp_path / "rows" / "intents.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines[:2]] == [
        {"tag": "greeting", "text": "hi greeting"},
        {"tag": "greeting", "text": "I want a greeting"},
    ]
