"""Pre-training on texts alone from end to end: it learns, resumes to the same bytes, and the next recipe takes it up."""

import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from encoders import save_encoder
from safetensors.torch import load_file
from tokenizers import Tokenizer

import limbeck
from limbeck.core.events import EpochEnded, Note
from limbeck.core.files import file_digest
from limbeck.models.create import create_model
from limbeck.models.weights import WEIGHTS, model_state
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.preflight.check import check
from limbeck.recipe.model import Recipe
from limbeck.recipe.reading import parse
from limbeck.tasks.text_classification import TextClassification

SENTENCES = ["{n} lives in {p} .", "In {p} it rains , {n} .", "Ask {n} about {p}"]
NAMES, PLACES = ["Ada", "Grace", "Edsger", "Barbara"], ["Paris", "Berlin", "Hanoi", "Nairobi"]


def write_texts(folder: Path) -> str:
    """train, valid and test lines of a small language; an encoder that knows its words."""
    folder.mkdir()
    chance = random.Random(0)
    for name, count in (("train", 300), ("valid", 60), ("test", 60)):
        lines = [
            chance.choice(SENTENCES).format(n=chance.choice(NAMES), p=chance.choice(PLACES))
            for _ in range(count)
        ]
        (folder / f"{name}.txt").write_text("\n\n".join(lines) + "\n")
    words = " ".join([*SENTENCES, *NAMES, *PLACES]).replace("{n}", "").replace("{p}", "").split()
    return save_encoder(folder / "encoder", words, vocabulary=80, width=32, layers=1)


def frequencies(folder: Path) -> list[float]:
    """How often each token of the training texts is there, as a share."""
    tokenizer = Tokenizer.from_file(str(folder / "encoder" / "tokenizer.json"))
    counts = Counter(
        tokenizer.encode((folder / "train.txt").read_text(), add_special_tokens=False).ids
    )
    return [count / counts.total() for count in counts.values()]


def recipe(folder: Path, encoder: str, epochs: int = 10, checkpoint_seconds: int = 60) -> Recipe:
    return parse(f"""
task: masked-lm
data: {{source: text, path: {folder}}}
student: {{model: {encoder}}}
train: {{epochs: {epochs}, learning_rate: 5.0e-3, batch_tokens: 256, max_tokens: 24, threads: 1, dtype: float32, checkpoint_seconds: {checkpoint_seconds}}}
""")


def test_an_encoder_learns_from_texts_and_is_a_teacher_after(tmp_path: Path) -> None:
    asked = recipe(tmp_path / "texts", write_texts(tmp_path / "texts"), epochs=40)
    # It packs rows: more rows than what the model reads.
    assert check(asked).mistakes == []
    report = limbeck.run(asked, tmp_path / "run")
    mean, (seed,) = report["arms"]["plain"]["mean"], report["arms"]["plain"]["seeds"]
    shares = frequencies(tmp_path / "texts")
    assert (
        mean["nats_per_token"] < -sum(share * math.log(share) for share in shares) - 0.5
    )  # what frequencies alone give: it reads the context
    assert mean["accuracy"] > 2 * max(shares)
    assert mean["perplexity"] == pytest.approx(math.exp(mean["nats_per_token"]))
    assert set(seed) == {"seed", "metrics"}  # nothing of the size of the vocabulary
    assert report["metric"] == {"name": "nats_per_token", "higher_is_better": False}
    low, high = report["arms"]["plain"]["ci95"]["nats_per_token"]
    assert low < mean["nats_per_token"] < high
    points = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    nats = [point["validation"]["nats_per_token"] for point in points if "validation" in point]
    assert nats[-1] < nats[0]
    assert "nats per token" in (tmp_path / "run" / "report.html").read_text()
    model = tmp_path / "run" / "model"
    assert len(json.loads((model / "config.json").read_text()).get("id2label", {})) <= 2
    taken_up(tmp_path, model)


def taken_up(tmp_path: Path, model: Path) -> None:
    """A classifier begins with the encoder of `model`, and a recipe names it as teacher."""
    task = TextClassification(["no", "yes"], (model / "tokenizer.json").read_text())
    begun, saved = (
        model_state(create_model(str(model), {}, task, seed=0)),
        load_file(model / WEIGHTS),
    )
    shared = [name for name in saved if name.startswith("bert.") and name in begun]
    assert len(shared) >= 20
    assert all((begun[name] == saved[name]).all() for name in shared)
    lines = [
        f"{'will it rain in' if i % 2 else 'call'} {NAMES[i % 3]} {PLACES[i % 4]},{'yes' if i % 2 else 'no'}"
        for i in range(80)
    ]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *lines]))
    report = limbeck.run(
        parse(f"""
task: text-classification
data: {{source: csv, path: {tmp_path / "train.csv"}}}
teacher: {{model: {model}, epochs: 2}}
student: {{from: teacher, surgery: same}}
train: {{epochs: 1, learning_rate: 5.0e-3, batch_tokens: 256, threads: 1, dtype: float32}}
distill: {{losses: {{kl: {{}}}}}}
"""),
        tmp_path / "tuned",
    )
    assert set(report["arms"]) == {"teacher", "kd"}


class Stop(Exception):
    """Ends a run where a test wants it."""


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = recipe(tmp_path / "texts", write_texts(tmp_path / "texts"), checkpoint_seconds=0)
    limbeck.run(asked, tmp_path / "calm")

    def stop(event: Any) -> None:
        if isinstance(event, EpochEnded) and event.epoch == 4:
            raise Stop

    notes: list[str] = []
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "other"))
    with pytest.raises(Stop):
        limbeck.run(asked, tmp_path / "again", tell=stop)
    limbeck.run(
        asked,
        tmp_path / "again",
        tell=lambda event: notes.append(event.text) if isinstance(event, Note) else None,
    )
    assert any("going on from step" in note for note in notes)
    calm, again = (file_digest(tmp_path / name / "model" / WEIGHTS) for name in ("calm", "again"))
    assert calm == again


@pytest.mark.parametrize(
    "stage", ["distill: {}", "quantize: {when: train}", "quantize: {when: after}"]
)
def test_what_pre_training_cannot_do_is_refused_before_any_work(stage: str, tmp_path: Path) -> None:
    text = f"task: masked-lm\ndata: {{source: text, path: nowhere}}\nteacher: {{model: x}}\nstudent: {{from: teacher, surgery: same}}\n{stage}\n"
    with pytest.raises(
        ValueError,
        match=rf"recipe:5:1: {stage.split(':')[0]}: `masked-lm` only pre-trains: .* `model` is then the teacher.model",
    ):
        compatibility.check_components(parse(text))


def test_a_teacher_that_is_asked_nothing_is_refused() -> None:
    text = "task: masked-lm\ndata: {source: text, path: nowhere}\nteacher: {model: x}\nstudent: {model: y}\n"
    with pytest.raises(
        ValueError, match=r"recipe:3:1: teacher: `masked-lm` asks a teacher nothing"
    ):
        compatibility.check_components(parse(text))


def test_a_student_cut_from_a_teacher_is_pre_trained(tmp_path: Path) -> None:
    """The teacher as it is, its figures beside those of the student; no share of equal decisions, since none are kept."""
    encoder = write_texts(tmp_path / "texts")
    asked = recipe(tmp_path / "texts", encoder).model_dump(by_alias=True) | {
        "teacher": {"model": encoder, "epochs": 0},
        "student": {"from": "teacher", "surgery": "same"},
    }
    report = limbeck.run(Recipe.model_validate(asked), tmp_path / "run")
    assert (
        report["arms"]["cut"]["mean"]["nats_per_token"]
        < report["arms"]["teacher"]["mean"]["nats_per_token"]
    )
    assert report["arms"]["cut"]["agreement"] is None


def test_a_model_without_a_masked_form_is_named(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2Model

    encoder = write_texts(tmp_path / "texts")
    GPT2Model(
        GPT2Config(vocab_size=80, n_embd=8, n_layer=1, n_head=1, n_positions=32)
    ).save_pretrained(encoder)
    with pytest.raises(
        ValueError,
        match=r"encoder`: not to be had as AutoModelForMaskedLM: transformers has no head of this",
    ):
        limbeck.run(recipe(tmp_path / "texts", encoder), tmp_path / "run")
