"""What `limbeck check` and a run find in dialogues before anything is trained, by file and line."""

import json
from pathlib import Path
from typing import Any

import pytest
from generation_models import CHATML, save_model, save_tokenizer

import limbeck
from limbeck.core.cache.store import Store
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import check as checking
from limbeck.pipeline.preflight.token_counts import count_tokens
from limbeck.recipe.model import Recipe
from limbeck.recipe.reading import parse

# As Gemma's and Mistral's: it wants a user and the assistant in turns.
IN_TURNS = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}{% endfor %}" + CHATML
)


def turns(*contents: str, first: str = "user") -> dict[str, Any]:
    roles = ["user", "assistant"] if first == "user" else ["assistant", "user"]
    return {
        "messages": [
            {"role": roles[i % 2], "content": content} for i, content in enumerate(contents)
        ]
    }


def write(folder: Path, rows_of_train: list[dict[str, Any]], **keys: Any) -> Recipe:
    """A recipe over files of dialogues: those of train, and a few good ones to judge by."""
    model = folder / "model"
    if not model.exists():
        save_model(model, template=keys.pop("template", CHATML))
    data = folder / "data"
    data.mkdir()
    good = [turns(f"where is parcel {i}?", "on its way") for i in range(12)]
    for split, rows in {"train": rows_of_train, "valid": good[:6], "test": good[6:]}.items():
        (data / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = {
        "task": "text-generation",
        "data": {"source": "jsonl", "path": str(data)},
        "teacher": {"model": str(model), "epochs": 1},
        "student": {"from": "teacher", "surgery": "drop_layers", "layers": 1},
        "train": {"max_tokens": 48, "threads": 1, "dtype": "float32"} | keys.pop("train", {}),
        "distill": {},
    }
    return parse(json.dumps(content | keys))


GOOD = [turns(f"parcel {i}", "thank you for waiting") for i in range(20)]


def test_rows_that_the_template_refuses_are_told_by_file_and_line(tmp_path: Path) -> None:
    rows = [*GOOD[:4], turns("hello", "who is there?", "me", first="assistant"), *GOOD[4:]]
    rows.append({"messages": [{"role": "user", "content": "a"}, *turns("b", "c")["messages"]]})
    recipe = write(tmp_path, rows, template=IN_TURNS)
    (mistake,) = limbeck.check(recipe).mistakes
    assert f"{tmp_path / 'data' / 'train.jsonl'}:5: " in mistake
    assert "roles must alternate" in mistake and "first of 2 such rows" in mistake
    # A run that nobody has checked stops before its training, with the place.
    with pytest.raises(ValueError, match=r"train.jsonl:5: .*roles must alternate"):
        limbeck.run(recipe, tmp_path / "run")
    assert not list((tmp_path / "run").glob("artifact"))


@pytest.mark.parametrize("place", [0, 1], ids=["question", "answer"])
def test_special_tokens_in_messages_are_told_as_a_server_tells_them(
    tmp_path: Path, place: int
) -> None:
    contents = ["hello", "thank you"]
    special = added_tokens(tmp_path)[0]
    contents[place] += f" {special} or"
    recipe = write(tmp_path, [*GOOD[:4], turns(*contents), *GOOD[4:]])
    (mistake,) = limbeck.check(recipe).mistakes
    told = f"train.jsonl:5: message {place + 1} holds the special token {special}: remove it"
    assert told in mistake
    with pytest.raises(ValueError, match=f"train.jsonl:5: message {place + 1} holds the special"):
        limbeck.run(recipe, tmp_path / "run")


def added_tokens(folder: Path) -> list[str]:
    """The special tokens of the model that `write` takes."""
    from limbeck.tasks.inputs.tokenized import open_tokenizer, special_tokens

    save_model(folder / "model", template=CHATML)
    return special_tokens(open_tokenizer((folder / "model" / "tokenizer.json").read_text()))


def test_a_model_without_a_template_is_told(tmp_path: Path) -> None:
    recipe = write(tmp_path, GOOD, template=None)
    told = limbeck.check(recipe).mistakes
    assert len(told) == 3
    assert "train.jsonl:1: the model's tokenizer has no chat template" in told[0]
    assert "chat_template.jinja" in told[0] and "first of 20 such rows" in told[0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (turns("hello", ""), r"train.jsonl:21: messages: message 2 is empty. Fill it in"),
        (turns("hello", " \n"), r"train.jsonl:21: messages: message 2 is empty"),
        (
            {"messages": [{"role": "wizard", "content": "a"}]},
            r"train.jsonl:21: .*`wizard` is no role",
        ),
    ],
)
def test_turns_that_are_none_are_told_when_they_are_read(
    row: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        limbeck.run(write(tmp_path, [*GOOD, row]), tmp_path / "run")


def test_an_answer_longer_than_the_model_reads_is_told_with_its_place(tmp_path: Path) -> None:
    long = turns("where is it?", "it is on its way, thank you for waiting. " * 9)
    checked = limbeck.check(write(tmp_path, [*GOOD, long]))
    assert checked.ok
    (line,) = [line for line in checked.lines if "longer than the 48 tokens" in line]
    assert line.startswith("warning: train: 1 answers") and "train.jsonl:21" in line


def test_rows_in_stretches_are_counted_for_the_report(tmp_path: Path) -> None:
    # 41 tokens of question or so: one part, then two, then more.
    long = [turns("order", "parcel " * 3, *["cancelled yesterday"] * n) for n in (0, 8, 16)]
    recipe = write(tmp_path, [*GOOD, *long])
    run = RunContext(recipe, Store(tmp_path / "cache"))
    task = run.new_task(str(tmp_path / "model"))
    (note,) = run.notes_of_tokens(task)
    by_row = [task.encode([row]) for row in run.data.train]
    stretched = [parts for parts in by_row if len(parts) > 1]
    tokens = sum(part.size for parts in stretched for part in parts)
    parts = sum(map(len, stretched))
    assert len(stretched) == 2 and parts > 4
    assert note.startswith(
        f"train: 2 of 23 texts are longer than 48 tokens and are read in {parts} stretches of "
        f"{tokens} tokens"
    )
    # Counts of pieces add up to those of the whole.
    halves = [run.data.train[:22], run.data.train[22:]]
    first, second = (count_tokens(task, rows, task.encode(rows)) for rows in halves)
    assert first + second == count_tokens(task, run.data.train, task.encode(run.data.train))


def test_a_context_beyond_the_models_is_told_and_not_read(tmp_path: Path) -> None:
    recipe = write(tmp_path, GOOD, train={"max_tokens": 4000})
    checked = limbeck.check(recipe)
    assert any(
        "up to 128 tokens, fewer than the 4000 of train.max_tokens" in x for x in checked.lines
    )


def test_two_vocabularies_are_refused_before_the_teacher_is_tuned(tmp_path: Path) -> None:
    save_model(tmp_path / "small")
    save_tokenizer(tmp_path / "small", size=290)
    recipe = write(tmp_path, GOOD, student={"model": str(tmp_path / "small")})
    with pytest.raises(
        ValueError,
        match=r"losses.kl: .*student has 290 tokens and the teacher 300.*universal_logit",
    ):
        limbeck.run(recipe, tmp_path / "run")
    assert not list(Store().folder.glob("teacher-*"))
    assert any("universal_logit" in told for told in limbeck.check(recipe).mistakes)


def test_only_a_sample_of_very_many_dialogues_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "SAMPLE_DIALOGUES", 10)
    checked = limbeck.check(write(tmp_path, GOOD))
    assert any(line.startswith("train: 10 of 20 rows were read by") for line in checked.lines)
