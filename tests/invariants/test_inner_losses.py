"""Losses on what lies inside both models, from a recipe to the weights they leave."""

from pathlib import Path

import pytest
from encoders import save_encoder
from safetensors.numpy import load_file
from test_text_run import write_corpus, write_intents

from limbeck.core.cache.store import Store
from limbeck.core.events import Note
from limbeck.models.weights import WEIGHTS, model_state
from limbeck.pipeline.arm import Arm, run_arm
from limbeck.pipeline.preflight import compatibility
from limbeck.recipe.reading import parse

INNER = "hidden: {measure: cosine, each: place}, attention: {map_by: similarity}, relation: {}"


def text(data: str, teacher: str, student: str, losses: str = INNER) -> str:
    """A recipe of one epoch."""
    return f"""
task: {"token" if "conll" in data else "text"}-classification
data: {{{data}}}
teacher: {{model: {teacher}, epochs: 1}}
student: {{{student}}}
train: {{epochs: 1, learning_rate: 2.0e-3, batch_tokens: 128, threads: 1, dtype: float32}}
distill: {{losses: {{{losses}}}}}
quantize: {{when: train, attention: uint8, start: 0.5}}
"""


def run(recipe: str, told: list[str]) -> Arm:
    """One arm."""
    return run_arm(
        compatibility.resolved(parse(recipe)),
        Store(tell=lambda event: told.append(event.text) if isinstance(event, Note) else None),
    )


def check(arm: Arm, losses: list[str]) -> None:
    """Every term was computed, the artifact holds, and nothing of a loss is left in the student."""
    assert all(set(losses) <= point["losses"].keys() for point in arm.history if "losses" in point)
    assert arm.artifact is not None
    assert all(row["holds"] for row in arm.artifact.parity)
    assert arm.model is not None
    assert set(load_file(arm.weights / WEIGHTS)) == set(model_state(arm.model()))
    assert not any(b"projector" in path.read_bytes() for path in arm.artifact.folder.glob("*.onnx"))


@pytest.mark.slow
def test_words_meet_across_tokenizers(tmp_path: Path) -> None:
    words = write_corpus(tmp_path / "corpus")
    teacher = save_encoder(tmp_path / "teacher", words, vocabulary=120, width=32, layers=3)
    student = save_encoder(
        tmp_path / "student", words, vocabulary=60, width=16, layers=2, lowercase=True
    )
    told: list[str] = []
    check(
        run(
            text(f"source: conll, path: {tmp_path / 'corpus'}", teacher, f"model: {student}"), told
        ),
        ["hidden", "attention", "relation"],
    )
    assert (
        "relation: student <- teacher layers bert.encoder.layer.1 <- bert.encoder.layer.2" in told
    )
    assert any(
        line.startswith(
            "attention: student <- teacher layers bert.encoder.layer.0 <- bert.encoder.layer."
        )
        for line in told
    )


@pytest.mark.slow
def test_texts_meet_token_by_token_where_the_tokenizer_is_one(tmp_path: Path) -> None:
    words = write_intents(tmp_path / "intents")
    teacher = save_encoder(tmp_path / "teacher", words, vocabulary=120, width=32, layers=2)
    other = save_encoder(
        tmp_path / "student", words, vocabulary=60, width=16, layers=2, lowercase=True
    )
    data = f"source: csv, path: {tmp_path / 'intents'}, on_bad_row: skip"
    check(
        run(text(data, teacher, "from: teacher, surgery: drop_layers, layers: 1"), []),
        ["hidden", "attention", "relation"],
    )
    with pytest.raises(
        ValueError,
        match=r"distill\.losses\.relation: it compares token by token.* the loss `hidden`, which compares whole texts",
    ):
        run(text(data, teacher, f"model: {other}", "relation: {}"), [])
