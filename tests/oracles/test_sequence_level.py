"""The teacher's answers in place of the data's: turn by turn, counted, resumed to the same bytes, in the arms that distil."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from generation_models import save_model

import limbeck
from limbeck.artifact.generation.sampling import Sampling, choose
from limbeck.core.cache.store import Store
from limbeck.core.files import read_json
from limbeck.distillation import teacher_answers
from limbeck.distillation.teacher_answers import Counts, Writer
from limbeck.models.generation.batched import Decoding
from limbeck.models.preprocessing import preprocess
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.steps.teacher import prepare_teacher
from limbeck.pipeline.teaching import sequence_level
from limbeck.recipe.model import Recipe
from limbeck.recipe.reading import read
from limbeck.sources import Row
from limbeck.tasks.text_generation import TextGeneration

RECIPE = """
task: text-generation
data: {{source: jsonl, path: {data}}}
teacher: {{model: {model}, epochs: 12, learning_rate: 1.0e-2, tries: 1}}
student: {{from: teacher, surgery: drop_layers, layers: 1}}
train: {{epochs: 1, learning_rate: 5.0e-3, max_tokens: 64, batch_tokens: 512, threads: 1, dtype: float32}}
distill: {{losses: {{kl: {{temperature: 1.0}}}}, sequence_level: {{max_new_tokens: 12, share: {share}}}}}
"""


def messages(*turns: tuple[str, str]) -> Row:
    return {"messages": [{"role": role, "content": said} for role, said in turns]}


ROWS = [
    messages(("user", "where is parcel 1?"), ("assistant", "parcel 1")),
    messages(
        ("user", "order"),
        ("assistant", "which one?"),
        ("user", "the second"),
        ("assistant", "cancelled"),
        ("user", "thank you"),
    ),
    messages(("assistant", "hello"), ("user", "yesterday"), ("assistant", "on its way")),
    messages(("user", "nobody has answered this")),
]


def writer_of(folder: Path, temperature: float, ends: Sequence[int], most: int = 6) -> Writer:
    save_model(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=False
    ).eval()
    task = TextGeneration([], preprocess(str(folder), TextGeneration, [], 96))
    decoding = Decoding(Sampling(temperature), most, ends, 0, task.input.max_tokens)
    return Writer(model, task.input, decoding, 7)


def slowly(writer: Writer, row: Row, number: int) -> tuple[list[dict[str, str]], Counts]:
    """One row, one token, one whole text after another."""
    told = [dict(each) for each in row["messages"]]
    if all(each["role"] != "assistant" for each in told):
        told.append({"role": "assistant", "content": ""})
    counts = Counts()
    turn = 0
    for place, each in enumerate(told):
        if each["role"] != "assistant" or place == 0:
            continue
        text = writer.input.template.render(told[:place], add_generation_prompt=True)
        ids = writer.input.tokenizer.encode(text, add_special_tokens=False).ids
        generator = np.random.Generator(np.random.PCG64([7, number, turn]))
        turn += 1
        answer: list[int] = []
        while len(answer) < writer.decoding.max_new_tokens:
            with torch.no_grad():
                logits = writer.model(input_ids=torch.tensor([ids + answer])).logits[0, -1].numpy()
            answer.append(
                choose(logits, np.array(ids + answer), writer.decoding.sampling, generator)
            )
            if answer[-1] in writer.decoding.end_ids:
                break
        said = writer.input.tokenizer.decode(answer, skip_special_tokens=True).strip()
        has_end = answer[-1] in writer.decoding.end_ids
        if has_end and said:
            each["content"] = said
            counts += Counts(asked=1, learned=1)
        else:
            counts += Counts(asked=1, empty=int(has_end), runaway=int(not has_end))
    return told, counts


@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
def test_each_answer_is_the_teachers_after_its_own_earlier_answers(
    temperature: float, tmp_path: Path
) -> None:
    writer = writer_of(tmp_path, temperature, range(2, 70))
    rows = ROWS * 6
    total = Counts()
    for number, (row, counts) in enumerate(writer.answered(rows, 0)):
        told, expected = slowly(writer, rows[number], number)
        assert counts == expected
        assert row == ({"messages": told} if all(each["content"] for each in told) else None)
        total += counts
    assert total.asked == total.learned + total.empty + total.runaway == 30
    # In draws each fate is met.
    assert total.runaway and (total.learned or temperature == 0)
    # A part of the rows is answered as it is among all.
    assert writer.answered(rows[4:9], 4) == writer.answered(rows, 0)[4:9]
    # The data's rows stay as they were.
    assert ROWS[0]["messages"][1]["content"] == "parcel 1"


def test_an_answer_of_the_end_alone_is_empty_and_one_without_end_is_runaway(tmp_path: Path) -> None:
    writer = writer_of(tmp_path, 0.0, range(2, 70))
    tokenizer = writer.input.tokenizer
    said = tokenizer.encode("thank you", add_special_tokens=False).ids
    assert writer.outcome([*said, 2], False) == ("thank you", Counts(asked=1, learned=1))
    assert writer.outcome([2], True) == ("", Counts(asked=1, empty=1, shortened=1))
    blank = tokenizer.encode(" \n", add_special_tokens=False).ids
    assert writer.outcome([*blank, 2], False) == ("", Counts(asked=1, empty=1))
    endless = tokenizer.encode("parcel zz", add_special_tokens=False).ids
    without = [token for token in endless if token > 70]
    assert writer.outcome(without, False)[1] == Counts(asked=1, runaway=1)


def test_of_a_long_dialogue_the_end_is_read(tmp_path: Path) -> None:
    writer = writer_of(tmp_path, 0.0, range(2, 70))
    long = messages(("user", "where is my parcel? " * 40), ("assistant", "here"))
    ((_, counts),) = writer.answered([long], 0)
    assert counts.asked == counts.shortened == 1
    ids = writer.prompt(long["messages"][:1], "row 1")
    assert len(ids) > 96 and writer.decoding.most_read == 90


def test_a_plain_text_has_no_answer(tmp_path: Path) -> None:
    writer = writer_of(tmp_path, 0.0, [2])
    with pytest.raises(ValueError, match=r"row 12 of train is a plain text.*sequence_level"):
        writer.answered([ROWS[0], {"text": "once upon a time"}], 10)


def dialogue(number: int) -> str:
    asked = {"role": "user", "content": f"where is parcel {number}?"}
    answer = {"role": "assistant", "content": f"it is on its way {number % 3}"}
    return json.dumps({"messages": [asked, answer]}) + "\n"


def recipe_of(folder: Path, share: float = 1.0) -> Recipe:
    save_model(folder / "model")
    data = folder / "data"
    data.mkdir()
    for split, numbers in {
        "train": range(40),
        "valid": range(40, 50),
        "test": range(50, 60),
    }.items():
        (data / f"{split}.jsonl").write_text("".join(map(dialogue, numbers)))
    nobody = json.dumps({"messages": [{"role": "user", "content": "where is parcel 99?"}]})
    (data / "unlabelled.jsonl").write_text(nobody + "\n")
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(data=data, model=folder / "model", share=share))
    return compatibility.resolved(read(path))


def answered(recipe: Recipe, cache: Path) -> tuple[RunContext, RunContext]:
    run = RunContext(recipe, Store(cache))
    teacher = prepare_teacher(recipe, run)
    return run, sequence_level.with_teacher_answers(recipe, run, teacher)


@pytest.mark.slow
def test_a_killed_stage_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(tmp_path, share=0.5)
    monkeypatch.setattr(sequence_level, "ROWS_OF_FILE", 6)
    generate = teacher_answers.generate
    calls: list[int] = []

    def killed(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return generate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(teacher_answers, "generate", killed)
        with pytest.raises(KeyboardInterrupt):
            answered(recipe, tmp_path / "first")
    calls.clear()
    monkeypatch.setattr(
        teacher_answers, "generate", lambda *all_: calls.append(1) or generate(*all_)
    )
    run, taught = answered(recipe, tmp_path / "first")
    # Two of four files (20 of 40 rows, and the one without an answer) were there.
    assert len(calls) == 2
    _, whole = answered(recipe, tmp_path / "second")
    folders = [next((tmp_path / name).glob("answers-*")) for name in ("first", "second")]
    names = sorted(path.name for path in folders[0].glob("rows-*"))
    assert len(names) == 4
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    # What the arm reads: its own train, everybody's test.
    assert taught.data.train == whole.data.train and taught.data.test == run.data.test
    assert taught.fingerprint("test") == run.fingerprint("test")
    assert taught.fingerprint("train") != run.fingerprint("train")
    same = sum(a == b for a, b in zip(run.data.train, taught.data.train, strict=False))
    assert 20 <= same < 40
    # Found, not asked again; an arm of an arm is not answered twice.
    assert sequence_level.with_teacher_answers(recipe, run, prepare_teacher(recipe, run)) is taught
    assert sequence_level.with_teacher_answers(recipe, taught, None) is taught
    assert len(calls) == 6


@pytest.mark.slow
def test_arms_that_distil_learn_the_answers_and_others_do_not(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path)
    content = recipe.dump() | {"verdict": {"arms": ["cut", "kd"], "max_drop": 5}}
    limbeck.run(recipe.with_content(content), tmp_path / "run")
    report = read_json(tmp_path / "run" / "report.json")
    (note,) = [each for each in report["notes"] if "answers of the teacher" in each]
    assert note.startswith("kd, seed 0:") and "of 41" in note
    assert "answers of the teacher" in [each["name"] for each in report["stages"]]


def test_tasks_that_write_nothing_refuse_it(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "task: image-classification\ndata: {source: sklearn, name: digits}\n"
        "teacher: {model: small_cnn}\nstudent: {model: small_cnn}\n"
        "distill: {sequence_level: {}}\n"
    )
    with pytest.raises(ValueError, match=r"distill.sequence_level.*answers that a model writes"):
        compatibility.resolved(read(path))


def test_a_teacher_over_several_processes_writes_nothing(tmp_path: Path) -> None:
    content = recipe_of(tmp_path).dump()
    content["teacher"] |= {"placement": "sharded", "epochs": 0}
    with pytest.raises(ValueError, match="one process writes the teacher's answers"):
        Recipe.model_validate(content)
