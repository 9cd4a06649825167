"""Students cut in ways that no config tells, from end to end: one recipe's student is the next recipe's teacher, and its answers stay the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from encoders import DATA, ROWS, TEXTS, save_encoder
from safetensors.torch import load_file
from torch import nn

import limbeck
from limbeck.core.cache.store import Store
from limbeck.core.files import read_json
from limbeck.models.user_model import Own
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.steps.student import cut_student
from limbeck.pipeline.steps.teacher import prepare_teacher
from limbeck.recipe.model import Recipe


def recipe(
    teacher: str, student: str, rest: str = "", origin: str = "teacher", epochs: int = 0
) -> Recipe:
    return limbeck.parse(
        f"task: text-classification\ndata: {{source: rows}}\nteacher: {{model: {teacher}, epochs: {epochs}}}\n"
        f"student: {{from: {origin}, {student}}}\ntrain: {{epochs: 3, threads: 1, dtype: float32, learning_rate: 5.0e-3}}\n{rest}"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("untimed")
def test_a_cut_student_is_the_next_teacher_and_loses_its_words(tmp_path: Path) -> None:
    encoder = save_encoder(
        tmp_path / "encoder", [*TEXTS, "unheard of words"], vocabulary=60, width=32, layers=1
    )
    first = limbeck.run(
        recipe(encoder, "surgery: prune_width, heads: 1, intermediate: 20", epochs=1),
        tmp_path / "first",
        rows=DATA,
    )
    folder = tmp_path / "first" / "model"
    assert read_json(folder / "structure.json")["bert.encoder.layer.0.attention.self"] == {
        "sizes": {"num_attention_heads": 1, "all_head_size": 16}
    }
    joint = "distill: {losses: {kl: {}}}\nquantize: {when: train}\nverdict: {arms: [kd, joint], max_drop: 1}\n"
    second = limbeck.run(
        recipe(str(folder), "surgery: trim_vocabulary", joint), tmp_path / "second", rows=DATA
    )
    assert second["arms"]["teacher"]["mean"] == first["arms"]["cut"]["mean"]
    assert all(row["holds"] for row in second["parity"])
    assert second["arms"]["joint"]["parameters"] < first["arms"]["cut"]["parameters"]
    vocabulary = read_json(tmp_path / "second" / "artifact" / "tokenizer.json")["model"]["vocab"]
    assert "film" in vocabulary and "unheard" not in vocabulary
    assert limbeck.load(tmp_path / "second" / "artifact").predict("good film here")["label"] in (
        "good",
        "bad",
    )


def test_a_student_is_cut_from_a_model_that_is_not_its_teacher(tmp_path: Path) -> None:
    teacher = save_encoder(tmp_path / "teacher", TEXTS, vocabulary=60, width=48, layers=1)
    other = save_encoder(
        tmp_path / "other", [*TEXTS, "unheard of words"], vocabulary=70, width=16, layers=3
    )
    rest = "distill: {losses: {kl: {}, hidden: {weight: 0.1}}}\nverdict: {arms: [plain, kd], max_drop: 1}\n"
    asked = recipe(teacher, "surgery: drop_layers, layers: 2", rest, origin=other, epochs=1)
    found = limbeck.run(asked, tmp_path / "run", rows=DATA)
    assert read_json(tmp_path / "run" / "model" / "config.json")["num_hidden_layers"] == 2
    assert found["arms"]["kd"]["parameters"] < found["arms"]["teacher"]["parameters"]
    untuned, cut = (
        load_file(tmp_path / "other" / "model.safetensors"),
        RunContext(asked, Store(tmp_path / "store"), rows=DATA),
    )
    start = load_file(cut_student(asked, cut, None).folder / "model.safetensors")
    for name in (
        "bert.embeddings.word_embeddings.weight",
        "bert.encoder.layer.1.output.dense.weight",
    ):
        assert torch.equal(
            start[name], untuned[name.removeprefix("bert.").replace("layer.1", "layer.2")]
        )


class Stack(nn.Module):
    """A module of the user's own, on word embeddings."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.layers, self.head = (
            nn.Embedding(60, 8),
            nn.ModuleList([nn.Linear(8, 8) for _ in range(3)]),
            nn.Linear(8, 2),
        )

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        x = self.words(input_ids)
        for layer in self.layers:
            x = x + layer(x).tanh()
        mask = attention_mask.unsqueeze(-1)
        return self.head((x * mask).sum(1) / mask.sum(1))


def bench(encoder: str, student: str, rows: list[dict[str, Any]], store: Path) -> RunContext:
    own = {"mine": Own(Stack(), tokenizer=encoder)}
    return RunContext(
        recipe("mine", student), Store(store), own, {"train": rows, "test": rows[:20]}
    )


def test_a_module_of_the_users_own_is_cut_and_built_again(tmp_path: Path) -> None:
    encoder = save_encoder(
        tmp_path / "encoder", [*TEXTS, "unheard of words"], vocabulary=60, width=16, layers=1
    )
    for student, name in (
        ("surgery: drop_layers, layers: 2", "layers"),
        ("surgery: factorize_embedding, rank: 2", "words"),
        ("surgery: trim_vocabulary", "words"),
    ):
        own = bench(encoder, student, ROWS, tmp_path / "store")
        net = cut_student(own.recipe, own, prepare_teacher(own.recipe, own))
        assert name in read_json(net.folder / "structure.json")
        batch = net.task.encode(ROWS[:1])[0]
        assert net.load()(
            **{key: torch.from_numpy(value)[None] for key, value in batch.inputs.items()}
        ).shape == (1, 2)


def test_a_cut_depends_on_the_rows_only_where_it_reads_them(tmp_path: Path) -> None:
    encoder = save_encoder(tmp_path / "encoder", TEXTS, vocabulary=60, width=16, layers=1)
    others = [{**row, "text": row["text"] + " again"} for row in ROWS]
    for student, differs in (("layers: 2", False), ("layers: 2, keep: importance", True)):
        keys = set()
        for rows in (ROWS, others):
            own = bench(encoder, f"surgery: drop_layers, {student}", rows, tmp_path / "store")
            keys.add(cut_student(own.recipe, own, prepare_teacher(own.recipe, own)).key)
        assert (len(keys) == 2) is differs
