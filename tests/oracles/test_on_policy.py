"""On-policy distillation: what a step learns from, its loss by slow code and by TRL's numbers, and the same bytes after a kill."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from generation_models import save_model, save_tokenizer
from safetensors.torch import load_file

from limbeck.artifact.generation.sampling import Sampling, choose
from limbeck.core import registry
from limbeck.core.cache.store import Store
from limbeck.core.files import file_digest
from limbeck.distillation.on_policy import STREAM, OnPolicy, answer_starts
from limbeck.distillation.teacher import LiveTeacher
from limbeck.models.generation.batched import Decoding
from limbeck.models.preprocessing import preprocess
from limbeck.models.running import run_model
from limbeck.models.taps import Outputs
from limbeck.models.torch_batches import batch_of
from limbeck.models.weights import WEIGHTS
from limbeck.pipeline import runs
from limbeck.pipeline.arm import run_arm
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.recipe.model import Recipe
from limbeck.recipe.reading import parse
from limbeck.tasks import UNKNOWN, Batch
from limbeck.tasks.text_generation import TextGeneration
from limbeck.training.job import Job
from limbeck.training.loop import Training

DIALOGUES = [
    [("user", "where is my parcel?"), ("assistant", "it is on its way")],
    [("user", "a"), ("assistant", "yes"), ("user", "the order"), ("assistant", "was cancelled")],
    [("user", "yesterday"), ("assistant", "thank you for waiting"), ("user", "bye")],
]
ROWS = [
    {"messages": [{"role": role, "content": said} for role, said in each]} for each in DIALOGUES
]
SEED = 5


def model_of(folder: Path, seed: int) -> Any:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False)
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture
def task(tmp_path: Path) -> TextGeneration:
    save_model(tmp_path / "model")
    return TextGeneration([], preprocess(str(tmp_path / "model"), TextGeneration, [], 64))


def batch_of_rows(task: TextGeneration, rows: list[int]) -> Batch:
    return batch_of(task.encode(ROWS), np.array(rows), task.padding)


def rewriting(model: Any, task: TextGeneration, share: float = 1.0, **sampled: float) -> OnPolicy:
    sampling = Sampling(**({"temperature": 1.0} | sampled))
    decoding = Decoding(sampling, 8, range(2, 60), 0, task.input.max_tokens)
    return OnPolicy(model, share, decoding, SEED)


def slowly(model: Any, task: TextGeneration, row: int, step: int) -> tuple[list[int], list[int]]:
    """The prompt and the answer of one row by itself, the whole text read for each token."""
    generator = np.random.Generator(np.random.PCG64([SEED, STREAM, step, row]))
    messages = ROWS[row]["messages"]
    places = [i for i, each in enumerate(messages) if each["role"] == "assistant"]
    place = places[generator.integers(len(places))]
    text = task.input.template.render(messages[:place], add_generation_prompt=True)
    prompt = task.input.tokenizer.encode(text, add_special_tokens=False).ids
    answer: list[int] = []
    while len(answer) < 8:
        ids = prompt + answer
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1].numpy()
        answer.append(choose(logits, np.array(ids), Sampling(1.0), generator))
        if 2 <= answer[-1] < 60:
            break
    return prompt, answer


def test_the_answers_are_what_the_student_says_at_that_step(
    task: TextGeneration, tmp_path: Path
) -> None:
    student = model_of(tmp_path / "model", 1)
    rewrite = rewriting(student, task)
    drawn = set()
    for step in range(6):
        batch = rewrite(batch_of_rows(task, [2, 0, 1]), step)
        assert batch.rows.tolist() == [2, 0, 1]
        for place, row in enumerate([2, 0, 1]):
            prompt, answer = slowly(student, task, row, step)
            length = int(batch.inputs["attention_mask"][place].sum())
            assert batch.inputs["input_ids"][place, :length].tolist() == prompt + answer
            units = batch.positions[place][batch.mask[place]].tolist()
            assert units == list(range(len(prompt) - 1, len(prompt) + len(answer) - 1))
            drawn.add((row, len(prompt)))
        assert (batch.labels == UNKNOWN).all()
    # Of a dialogue of two answers each is drawn at some time.
    assert len(drawn) == 4
    # The weights of the next step say something else.
    other = rewriting(model_of(tmp_path / "model", 2), task)(batch_of_rows(task, [2, 0, 1]), 0)
    first = rewrite(batch_of_rows(task, [2, 0, 1]), 0)
    assert other.inputs["input_ids"].tolist() != first.inputs["input_ids"].tolist()


def test_it_happens_in_the_share_of_the_steps_that_is_asked(
    task: TextGeneration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = model_of(tmp_path / "model", 1)
    monkeypatch.setattr(OnPolicy, "written", lambda self, prompts: [[2] for _ in prompts])
    batch = batch_of_rows(task, [0])
    for share in (0.2, 0.7, 1.0):
        rewrite = rewriting(student, task, share)
        changed = sum(rewrite(batch, step) is not batch for step in range(1000))
        assert abs(changed / 1000 - share) < 0.04


def test_the_student_writes_without_dropout_and_is_left_as_it_was(
    task: TextGeneration, tmp_path: Path
) -> None:
    student = model_of(tmp_path / "model", 1).train()
    student.lm_head.eval()
    modes: list[bool] = []
    student.model.layers[0].register_forward_hook(lambda module, *_: modes.append(module.training))
    rewriting(student, task)(batch_of_rows(task, [0]), 0)
    assert modes and not any(modes)
    assert student.training and student.model.training and not student.lm_head.training


def test_starts_of_answers() -> None:
    assert answer_starts(np.array([3, 4, 5, 9, 10])).tolist() == [4, 10]
    assert answer_starts(np.array([0, 1, 2])).tolist() == [1]
    assert answer_starts(np.array([7])).tolist() == [8]


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("jensen_shannon", {"beta": 0.5, "temperature": 2.0}),
        ("jensen_shannon", {"beta": 0.1, "temperature": 1.0}),
        ("reverse_kl", {"temperature": 1.0}),
        ("kl", {"temperature": 3.0}),
    ],
)
def test_the_loss_is_that_of_slow_code_on_the_students_tokens(
    name: str, keys: dict[str, float], task: TextGeneration, tmp_path: Path
) -> None:
    student = model_of(tmp_path / "model", 1)
    teacher = model_of(tmp_path / "model", 2)
    batch = rewriting(student, task)(batch_of_rows(task, [0, 1, 2]), 3)
    with torch.no_grad():
        of_student = run_model(student, batch, project_later=True)
        of_teacher = LiveTeacher(teacher, (), torch.float32)(batch)
        loss = registry.create("losses", name, keys)(of_student, of_teacher, batch, 0.0)
    # Token after token in float64, each after the text before it.
    temperature = keys["temperature"]
    values: list[float] = []
    for row in range(3):
        prompt, answer = slowly(student, task, row, 3)
        for i in range(len(answer)):
            ids = torch.tensor([prompt + answer[:i]])
            with torch.no_grad():
                scores = [each(input_ids=ids).logits[0, -1].double() for each in (student, teacher)]
            q, p = (torch.softmax(each / temperature, -1).numpy() for each in scores)
            if name == "jensen_shannon":
                m = keys["beta"] * p + (1 - keys["beta"]) * q
                value = keys["beta"] * np.sum(p * np.log(p / m))
                value += (1 - keys["beta"]) * np.sum(q * np.log(q / m))
            elif name == "kl":
                value = np.sum(p * np.log(p / q))
            else:
                value = np.sum(q * np.log(q / p))
            values.append(temperature**2 * float(value))
    assert float(loss) == pytest.approx(np.mean(values), rel=2e-4)


# `GKDTrainer.generalized_jsd_loss` of trl 1.16.0, by beta and temperature, of the logits below.
OF_TRL = {
    (0.0, 1.0): 1.0174462203573489,
    (0.0, 2.0): 0.30468588828011983,
    (0.1, 1.0): 0.07782146661991506,
    (0.1, 2.0): 0.026396329636248203,
    (0.5, 1.0): 0.19089938258468955,
    (0.5, 2.0): 0.06948402732968323,
    (0.9, 1.0): 0.0784079220585243,
    (0.9, 2.0): 0.02611098158878358,
    (1.0, 1.0): 0.9901608041310781,
    (1.0, 2.0): 0.29892716127845476,
}


@pytest.mark.parametrize(("beta", "temperature"), OF_TRL)
def test_the_divergence_is_that_of_trl_times_the_square_of_the_temperature(
    beta: float, temperature: float
) -> None:
    numbers = torch.arange(30, dtype=torch.float64)
    mask = torch.tensor([[True, True, False], [True, False, True]])
    student = Outputs((2 * torch.sin(0.7 * numbers)).reshape(2, 3, 5), mask)
    teacher = Outputs((3 * torch.cos(0.3 * numbers)).reshape(2, 3, 5), mask)
    batch = Batch({}, None, torch.full((2, 3), UNKNOWN), mask, np.arange(2))
    loss = registry.create("losses", "jensen_shannon", {"beta": beta, "temperature": temperature})
    expected = temperature**2 * OF_TRL[beta, temperature]
    assert float(loss(student, teacher, batch, 0.0)) == pytest.approx(expected, rel=1e-9)


RECIPE = """
task: text-generation
data: {{source: jsonl, path: {data}}}
teacher: {{model: {model}, epochs: 1, learning_rate: 1.0e-2, tries: 1}}
student: {{from: teacher, surgery: drop_layers, layers: 1}}
train: {{epochs: 4, learning_rate: 5.0e-3, max_tokens: 64, batch_tokens: 384, threads: 1, dtype: float32, checkpoint_seconds: 0}}
distill: {{losses: {{jensen_shannon: {{temperature: 1.0}}}}, on_policy: {{share: 0.6, max_new_tokens: 8}}}}
quantize: {{weights: int4, start: 0.4}}
"""


def dialogue(number: int) -> str:
    asked = {"role": "user", "content": f"where is parcel {number}?"}
    answer = {"role": "assistant", "content": f"it is on its way {number % 3}"}
    return json.dumps({"messages": [asked, answer]}) + "\n"


def recipe_of(folder: Path) -> Recipe:
    save_model(folder / "model")
    data = folder / "data"
    data.mkdir()
    for split, numbers in {
        "train": range(30),
        "valid": range(30, 36),
        "test": range(36, 42),
    }.items():
        (data / f"{split}.jsonl").write_text("".join(map(dialogue, numbers)))
    return compatibility.resolved(parse(RECIPE.format(data=data, model=folder / "model")))


class Trained(Exception):
    """The training is over, and nothing after it is wanted."""


def trained(recipe: Recipe, cache: Path, *, killed_at: int | None = None) -> Path:
    """The folder of the training's stage; killed before a step where that is asked."""

    def kill(step: int, total: int) -> None:
        assert total > 6
        if step == killed_at:
            raise KeyboardInterrupt

    def train(job: Job, folder: Path) -> Any:
        # The teacher's is left alone.
        is_student = bool(job.watchers.before_step)
        if is_student and killed_at is not None:
            listeners = [kill, *job.watchers.before_step]
            job = replace(job, watchers=replace(job.watchers, before_step=listeners))
        return Training(job, folder).run()

    def stop(stage: Any, folder: Path) -> None:
        if stage.name == "train":
            raise Trained

    run = RunContext(recipe, Store(cache), train=train, when_built=stop)
    with pytest.raises((Trained, KeyboardInterrupt)):
        run_arm(recipe, run.store, run=run)
    return next(iter(cache.glob("train-*")))


@pytest.mark.slow
def test_a_joint_training_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path)
    whole = trained(recipe, tmp_path / "whole")
    trained(recipe, tmp_path / "killed", killed_at=5)
    resumed = trained(recipe, tmp_path / "killed")
    assert file_digest(resumed / WEIGHTS) == file_digest(whole / WEIGHTS)
    # Another seed, or no answers of its own, is another training.
    content = recipe.dump()
    content["distill"]["on_policy"] = None
    without = trained(recipe.with_content(content), tmp_path / "without")
    first, second = load_file(whole / WEIGHTS), load_file(without / WEIGHTS)
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert not list((tmp_path / "whole").glob("label-*"))
    assert list((tmp_path / "without").glob("label-*"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"top_k": 8}, r"distill.top_k.*the student writes other texts in every step"),
        ({"cache": "int8"}, r"distill.cache.*the teacher answers them live"),
        ({"losses": {}}, r"distill.on_policy.*Add `losses: \{jensen_shannon"),
        ({"losses": {"mutual": {}}}, r"distill.losses.mutual.*learns along"),
    ],
)
def test_what_does_not_go_with_it_is_refused(
    changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    content = recipe_of(tmp_path).dump()
    content["distill"] |= changed
    with pytest.raises(ValueError, match=message):
        parse(json.dumps(content))


def test_there_is_nothing_to_label(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"label: with `distill.on_policy`.*nothing to keep"):
        runs.label(recipe_of(tmp_path))


def test_a_teacher_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path)
    save_model(tmp_path / "other")
    save_tokenizer(tmp_path / "other", size=290)
    content = recipe.dump() | {"student": {"model": str(tmp_path / "other")}, "quantize": None}
    content["distill"]["losses"] = {"universal_logit": {}}
    run = RunContext(recipe.with_content(content), Store(tmp_path / "cache"))
    with pytest.raises(ValueError, match=r"distill.on_policy: .*290 tokens.*300.*sequence_level"):
        run_arm(compatibility.resolved(run.recipe), run.store)


def test_plain_texts_hold_no_answers(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path)
    (tmp_path / "texts.txt").write_text("where is my parcel?\n\n" * 3 + "thank you\n\n" * 60)
    content = recipe.dump() | {"data": {"source": "text", "path": str(tmp_path / "texts.txt")}}
    content["quantize"] = None
    run = RunContext(recipe.with_content(content), Store(tmp_path / "cache"))
    with pytest.raises(ValueError, match=r"row 1 of train is a plain text.*on_policy"):
        run_arm(compatibility.resolved(run.recipe), run.store)
