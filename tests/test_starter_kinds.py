"""Layouts that `limbeck init` took for others: each is read as what it is, or told by its name with a command that is typed here and makes what is read."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call
from layouts import put, text
from test_files_as_they_lie import read
from test_starter_choice import chosen
from test_starter_steps import refusal, typed

from limbeck.cli.first_recipe import look as starter
from limbeck.cli.first_recipe.table_columns.several import are_several_numbers, separator_of
from limbeck.sources._cells.labels import LabelParser

TAGS = ("python", "sql", "css", "c#", "html")
NAMES = ("billing", "weather", "sport")


def some_tags(number: int) -> list[str]:
    """One to three tags, in any order."""
    return random.Random(number).sample(TAGS, 1 + number % 3)


@pytest.mark.parametrize(
    ("write", "mark"),
    [
        (", ".join, ","),
        ("; ".join, ";"),
        (lambda tags: "".join(f"<{tag}>" for tag in tags), "><"),
    ],
    ids=["commas", "semicolons", "angles"],
)
def test_tags_in_any_order_are_several_labels(write: Any, mark: str, tmp_path: Path) -> None:
    """Nearly every cell is another one, so that no column looked like a label."""
    rows = "".join(f'{text(n)},"{write(some_tags(n))}"\n' for n in range(90))
    (tmp_path / "train.csv").write_text(f"title,tags\n{rows}")
    guess = starter.look(tmp_path / "train.csv")
    assert guess.task == "multi-label-classification"
    options = {key: guess.options[key] for key in ("text", "label", "label_separator")}
    assert options == {"text": "title", "label": "tags", "label_separator": mark}
    found = read("csv", tmp_path / "train.csv", **options)["train"]
    assert [row["label"] for row in found] == [some_tags(n) for n in range(90)]


@pytest.mark.parametrize(
    "cells",
    [
        ["Lyon, France", "Paris, France", "Rome, Italy", "Bonn, Germany", "Turin, Italy"],
        ["Smith, John", "Smith, Ann", "Lee, Bo"],
    ],
)
def test_a_comma_in_a_name_parts_no_labels(cells: list[str]) -> None:
    assert separator_of(cells * 9) is None


@pytest.mark.parametrize(
    ("cells", "are_labels"),
    [
        (["1", "2,5", "3", "1,4"], True),
        (["0", "0,27", "3,8", "3"], True),
        (["1,5", "2,5", "3,5", "3", "5"], False),
        (["3,1", "2,75", "4", "1"], False),
        (["0,5", "0,25", "1"], False),
        (["3,05", "2,1", "2"], False),
    ],
)
def test_numbers_with_a_comma(cells: list[str], are_labels: bool, tmp_path: Path) -> None:
    """GoEmotions' numbers of labels became numbers to learn; marks out of six with a comma still are."""
    assert are_several_numbers(cells) == are_labels
    lines = [f"{text(n)}\t{cells[n % len(cells)]}\tid{n}\n" for n in range(60)]
    (tmp_path / "train.tsv").write_text("".join(lines))
    if not are_labels:
        return
    guess = starter.look(tmp_path)
    assert (guess.task, guess.options["label_separator"]) == ("multi-label-classification", ",")
    assert any("write a point in place of the comma" in reason for reason in guess.reasons)


def test_angles_part_labels_where_the_recipe_says_so() -> None:
    assert LabelParser(None, "><").parse("<c#><unk>", "tags") == ["c#", "unk"]
    assert LabelParser(None, "><").parse("<c#>", "tags") == ["c#"]
    assert LabelParser(None, ";").parse("<unk>;a", "tags") == ["<unk>", "a"]


def test_several_labels_of_fasttext(tmp_path: Path) -> None:
    """The second label stayed in the text."""
    lines = [f"__label__{NAMES[n % 3]} {'__label__en ' * (n % 2)}{text(n)}\n" for n in range(60)]
    put(tmp_path, {"train.txt": "".join(lines), "test.txt": "".join(lines[:30])})
    guess = starter.look(typed(refusal(tmp_path), tmp_path))
    assert (guess.task, guess.options["label_separator"]) == ("multi-label-classification", ";")
    assert sorted(guess.files) == ["test", "train"]
    assert (tmp_path / "rows/train.tsv").read_text().splitlines()[1] == f"weather;en\t{text(1)}"


@pytest.mark.parametrize(
    ("texts", "labels"),
    [
        ("x_{}.txt", "y_{}.txt"),
        ("{}.txt", "{}.labels"),
        ("{}-sentences.txt", "{}-target.txt"),
        ("{}.src", "{}.tgt"),
    ],
)
def test_labels_in_a_file_beside(texts: str, labels: str, tmp_path: Path) -> None:
    """The first words of the texts were the labels, or a model learned from the labels alone."""
    files = {}
    for split, start in (("train", 0), ("test", 60)):
        numbers = range(start, start + 60)
        files[texts.format(split)] = "".join(f"{text(n)}\ta tab\n" for n in numbers)
        files[labels.format(split)] = "".join(f"{NAMES[n % 3]}\n" for n in numbers)
    put(tmp_path, files)
    message = refusal(tmp_path)
    assert f"their labels in {labels.format('train')}" in message
    guess = starter.look(typed(message, tmp_path))
    assert (guess.task, sorted(guess.files)) == ("text-classification", ["test", "train"])
    row = read("tsv", tmp_path, **guess.options)["test"][1]
    assert row == {"text": f"{text(61)} a tab", "label": NAMES[1]}


def test_files_of_other_lengths_are_no_pair(tmp_path: Path) -> None:
    """Beside train.txt, labels.txt names what numbers mean."""
    lines = "".join(f"{text(n)};{n % 3}\n" for n in range(60))
    put(tmp_path, {"train.txt": lines, "train_labels.txt": "anger\njoy\nfear\n"})
    assert starter.look(tmp_path).options["label"] == "column_2"


def test_vectors_of_libsvm_are_told(tmp_path: Path) -> None:
    lines = [f"{n % 2} 1:0.{n} 4:0.05 17:{n}e-2\n" for n in range(30)]
    put(tmp_path, {"train.txt": "".join(lines)})
    with pytest.raises(ValueError, match="lines of libsvm, a label and a vector of numbers each"):
        starter.look(tmp_path)


def test_bullets_are_no_labels(tmp_path: Path) -> None:
    lines = [f"{'-*'[n % 2]} {text(n)}{' and so on' * (n % 3)}\n" for n in range(60)]
    put(tmp_path, {"train.txt": "".join(lines)})
    assert starter.look(tmp_path).task == "masked-lm"


def test_intents_of_rasa_in_markdown(tmp_path: Path) -> None:
    """`##` and `-` were the classes."""
    parts = []
    for name in NAMES:
        lines = "".join(f"- {name} [{text(n)}](thing)\n" for n in range(20))
        parts.append(f"## intent:{name}\n{lines}\n## synonym:none\n- nothing\n\n")
    put(tmp_path, {"nlu.md": "".join(parts)})
    guess = starter.look(typed(refusal(tmp_path), tmp_path))
    assert guess.options["label"] == "intent"
    rows = read("jsonl", tmp_path / "rows.jsonl", label="intent")["train"]
    assert len(rows) == 60
    assert rows[20] == {"text": f"weather {text(0)}", "label": "weather"}


def messages(number: int, answer: str) -> list[dict[str, str]]:
    turns = [("system", "you sort mails"), ("user", text(number)), ("assistant", answer)]
    return [{"role": role, "content": content} for role, content in turns]


def test_the_last_turn_of_a_chat_is_the_label(tmp_path: Path) -> None:
    """A classifier of `user` and `assistant` was learned."""
    rows = [{"messages": messages(n, f" {NAMES[n % 3]}")} for n in range(60)]
    put(tmp_path, {f"{split}.jsonl": lines(rows) for split in ("train", "test")})
    guess = starter.look(typed(refusal(tmp_path), tmp_path))
    assert (guess.options["text"], guess.options["label"]) == ("text", "label")
    row = read("jsonl", tmp_path / "rows")["test"][1]
    assert row == {"text": text(1), "label": "weather"}


def test_a_chat_with_a_label_beside_it(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": text(1)}, {"from": "gpt", "value": "well, so be it"}]
    rows = [{"conversations": turns, "label": "ab"[n % 2]} for n in range(40)]
    put(tmp_path, {"train.jsonl": lines(rows)})
    guess = starter.look(typed(refusal(tmp_path), tmp_path))
    assert guess.options["label"] == "label"
    row = read("jsonl", tmp_path / "rows")["train"][0]
    assert row == {"text": f"{text(1)}\nwell, so be it", "label": "a"}


def shown(turns: list[dict[str, str]], by: str, said: str) -> list[dict[str, str]]:
    return [{by: turn["role"], said: turn["content"]} for turn in turns]


@pytest.mark.parametrize(
    ("row", "options"),
    [
        (lambda turns: {"messages": turns}, {"messages": "messages"}),
        (
            lambda turns: {"id": 1, "conversations": shown(turns, "from", "value")},
            {"messages": "conversations", "id": "none"},
        ),
        (
            lambda turns: {"conversation_id": "ab", "turns": shown(turns, "role", "text")},
            {"messages": "turns"},
        ),
        (
            lambda turns: {"prompt": turns[-2]["content"], "response": turns[-1]["content"]},
            {"prompt": "prompt", "response": "response"},
        ),
        (
            lambda turns: {"instruction": turns[-2]["content"], "output": turns[-1]["content"]},
            {"prompt": "instruction", "response": "output"},
        ),
        (
            lambda turns: {
                "instruction": turns[-2]["content"],
                "input": "what is asked about, " * 9,
                "output": turns[-1]["content"],
            },
            {"prompt": "instruction", "response": "output"},
        ),
    ],
)
def test_free_answers_of_a_chat_are_for_text_generation(
    row: Any, options: dict[str, str], tmp_path: Path
) -> None:
    rows = [row(messages(n, f"the answer to it is {n}")) for n in range(40)]
    put(tmp_path, {"train.jsonl": lines(rows)})
    guess = starter.look(tmp_path)
    assert (guess.task, guess.options) == ("text-generation", options)
    assert any("is learned" in reason for reason in guess.reasons)
    (first, *_) = read("jsonl", guess.path, **options)["train"]
    assert first["messages"][-1] == {"role": "assistant", "content": "the answer to it is 0"}


@pytest.mark.parametrize(
    "row",
    [
        # A question finds its answer: a search.
        lambda n: {"question": f"what is {n} of them?", "answer": f"they are {n} of many things"},
        # What is asked is said of a text beside it, which a dialogue would not hold.
        lambda n: {"prompt": f"how many? {n}", "passage": "a b c d e f " * 9, "response": f"{n} of a long list"},
        # A class.
        lambda n: {"prompt": f"what is {n} of them?", "response": "ab"[n % 2]},
    ],
)  # fmt: skip
def test_columns_that_are_no_dialogue(row: Any, tmp_path: Path) -> None:
    put(tmp_path, {"train.jsonl": lines([row(n) for n in range(40)])})
    try:
        guess = starter.look(tmp_path)
    except ValueError:
        return
    assert guess.task != "text-generation"


def lines(rows: Sequence[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("header", ["token,label", "word,tag", "form,upos,iob"])
def test_words_in_rows_of_a_table(header: str, tmp_path: Path) -> None:
    """Each word was a text, and its tag the label."""
    middle = ",X" * (header.count(",") - 1)
    sentence = f"Ada{middle},B-PER\nLovelace{middle},I-PER\nsings{middle},O\n\n"
    put(
        tmp_path,
        {"train.csv": f"{header}\n{sentence * 30}", "test.csv": f"{header}\n{sentence * 9}"},
    )
    guess = starter.look(typed(refusal(tmp_path), tmp_path))
    assert (guess.task, sorted(guess.files)) == ("token-classification", ["test", "train"])
    row = read("conll", tmp_path / "rows")["test"][0]
    assert row == {"words": ["Ada", "Lovelace", "sings"], "tags": ["B-PER", "I-PER", "O"]}


def test_words_in_rows_without_an_end_of_sentences(tmp_path: Path) -> None:
    put(tmp_path, {"train.csv": "token,label\n" + "Ada,B-PER\nsings,O\n" * 30})
    with pytest.raises(ValueError, match="nothing says where a sentence ends"):
        starter.look(tmp_path)


@pytest.mark.parametrize("name", ["score", "grade", "exam_points", "calories"])
def test_whole_numbers_of_a_wide_range_are_learned_as_such(name: str) -> None:
    """`score` was told to have fractions, and `grade` to be no label."""
    found = chosen(essay=text, **{name: lambda n: n * 37 % 101})
    assert (found.task, found.options["label"]) == ("text-regression", name)
    assert f"`{name}` holds" in found.reason
    assert "whole numbers from 0 to 100" in found.reason
    assert "task: text-classification" in found.reason


@pytest.mark.parametrize("name", ["label", "intent", "class_label", "year"])
def test_numbers_of_classes_are_no_numbers_to_learn(name: str) -> None:
    """CLINC's 150 intents by number, each in few of the first rows."""
    mood = {} if name != "year" else {"mood": lambda n: "abc"[n % 3]}
    found = chosen(text=text, **{name: lambda n: n * 37 % 101}, **mood)
    assert found.task == "text-classification"


def test_categories_of_spacy_in_pairs(tmp_path: Path) -> None:
    rows = [[text(n), {"cats": {name: name == NAMES[n % 3] for name in NAMES}}] for n in range(40)]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    guess = starter.look(tmp_path / "train.json")
    columns = [f"column_2.cats.{name}" for name in NAMES]
    assert (guess.task, guess.options["label_columns"]) == ("text-classification", columns)
    row = read("jsonl", tmp_path / "train.json", text="column_1", label_columns=columns)["train"][1]
    assert row == {"text": text(1), "label": columns[1]}


@pytest.mark.parametrize(
    ("images", "labels"),
    [("X", "y"), ("images", "labels"), ("data", "target"), ("X_train", "y_train"), ("x", "Y")],
)
def test_arrays_by_the_names_that_people_give_them(
    images: str, labels: str, tmp_path: Path
) -> None:
    """The recipe of X and y could not be read, and spoke of train_images."""
    pixels = np.arange(40 * 9, dtype=np.uint8).reshape(40, 3, 3)
    np.savez(tmp_path / "data.npz", **{images: pixels, labels: np.arange(40) % 4})
    guess = starter.look(tmp_path / "data.npz")
    assert any(f"{images}, {labels}" in reason for reason in guess.reasons)
    rows = read("npz", tmp_path / "data.npz")["train"]
    assert rows[5]["image"].tolist() == pixels[5].tolist()
    assert rows[5]["label"] == "1"


def test_an_archive_of_other_arrays_is_told_by_their_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", signals=np.zeros((4, 9)), y=np.zeros(4))
    with pytest.raises(ValueError, match="Arrays here: signals, y"):
        starter.look(tmp_path / "data.npz")


@pytest.mark.parametrize(("query", "item"), [("query", "positive"), ("Question", "Answer")])
def test_queries_and_their_items_are_a_search(query: str, item: str, tmp_path: Path) -> None:
    """None of the columns looked like a label, and no word was said of the task that needs none."""
    rows = [
        {query: text(n), item: f"it is {text(n + 1)}", "negative": text(n + 2)} for n in range(60)
    ]
    put(tmp_path, {"train.jsonl": lines(rows)})
    guess = starter.look(tmp_path / "train.jsonl")
    assert guess.task == "ranking"
    options = {key: guess.options[key] for key in ("text", "text_b", "label")}
    assert options == {"text": query, "text_b": item, "label": item}
    out = tmp_path / "recipe.yaml"
    assert call("init", tmp_path / "train.jsonl", "--out", out) == 0
    assert call("check", out, "--data-only") == 0
    # A query is told from the other items of its batch: of three or four nothing is learned.
    written = out.read_text()
    assert f"`{query}` finds its `{item}`" in written
    budget = int(written.partition("batch_tokens: ")[2].partition(",")[0])
    assert budget >= 16 * len(f"{text(1)} it is {text(2)}".split())


def test_a_label_of_a_pair_is_learned_where_there_is_one() -> None:
    pair = {"question": text, "answer": lambda n: f"it is {text(n)}"}
    found = chosen(**pair, relevance=lambda n: n % 2)
    assert (found.task, found.options["label"]) == ("text-classification", "relevance")
    found = chosen(**pair, label=lambda n: n % 2)
    assert (found.task, found.options["label"]) == ("text-classification", "label")


def test_a_language_model_asked_for_learns_chats_that_end_in_a_class(tmp_path: Path) -> None:
    rows = [{"messages": messages(n, "ab"[n % 2])} for n in range(40)]
    put(tmp_path, {"train.jsonl": lines(rows)})
    model = tmp_path / "model"
    with pytest.raises(ValueError, match="its last turn is the label") as caught:
        starter.look(tmp_path / "train.jsonl", str(model))
    assert f"--model {model} is not here: name the folder" in str(caught.value)
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"architectures": ["BertModel"]}))
    with pytest.raises(ValueError, match="is no folder of a language model"):
        starter.look(tmp_path / "train.jsonl", str(model))
    (model / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    guess = starter.look(tmp_path / "train.jsonl", str(model))
    assert (guess.task, guess.options) == ("text-generation", {"messages": "messages"})
