"""Students of a real model of 135 million weights, from its GGUF file, on a real set of dialogues: minutes, and 4 GB of memory."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from decoders import logits

from limbeck.core import registry
from limbeck.models.preprocessing import preprocess
from limbeck.models.published.pretrained import Asked, from_transformers
from limbeck.surgeries import Evidence
from limbeck.tasks.text_generation import TextGeneration

pytestmark = [pytest.mark.slow, pytest.mark.data, pytest.mark.nightly]

FILE = Path.home() / ".cache/limbeck-models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
NUM_ROWS = 40


@pytest.fixture(scope="module")
def teacher() -> tuple[Any, Any, list[str]]:
    """The model, its task, and what was told of it."""
    if not FILE.exists():
        pytest.skip(f"{FILE} is not there: python shared/models/get_models.py smollm2")
    told: list[str] = []
    task = TextGeneration([], preprocess(str(FILE), TextGeneration, [], 256))
    return from_transformers(str(FILE), Asked(task, told.append)), task, told


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Dialogues of customers and agents, whose turns are the answers."""
    path = Path(os.environ["LIMBECK_DATA"]) / "tweetsumm/train.jsonl"
    dialogues = []
    for line in path.read_text(encoding="utf-8").splitlines()[:NUM_ROWS]:
        messages: list[dict[str, str]] = []
        for turn in json.loads(line)["turns"]:
            role = "assistant" if turn["role"] == "Agent" else "user"
            # One after the other of the same person is one turn.
            if messages and messages[-1]["role"] == role:
                messages[-1]["content"] += "\n" + turn["text"]
            else:
                messages.append({"role": role, "content": turn["text"]})
        dialogues.append({"messages": messages})
    return dialogues


def nats(model: Any, task: Any, rows: list[dict[str, Any]]) -> float:
    """The mean of a token of the answers."""
    total, count = 0.0, 0
    for encoded in task.encode(rows):
        found = logits(model, torch.from_numpy(encoded.inputs["input_ids"])[None])[0]
        at = found[torch.from_numpy(encoded.positions)]
        labels = torch.from_numpy(encoded.labels)
        total += float(torch.nn.functional.cross_entropy(at, labels, reduction="sum"))
        count += len(labels)
    return total / count


def test_its_grid_is_told(teacher: Any) -> None:
    assert "of its weights lie on a grid of 4 bits already" in teacher[2][0]


def test_its_vocabulary_is_that_of_the_dialogues(teacher: Any, rows: Any) -> None:
    model, task, _ = teacher
    cut = registry.create("surgeries", "trim_vocabulary", {}).cut(model, Evidence(task, rows))
    assert cut.preprocess is not None
    smaller: Any = TextGeneration([], cut.preprocess)
    student: Any = cut.student
    names = task.input.tokenizer.get_vocab()
    kept = [names[token] for token in smaller.labels]
    print("tokens", len(kept), "of", len(names))
    for before, after in zip(task.encode(rows[:3]), smaller.encode(rows[:3]), strict=True):
        old = torch.from_numpy(before.inputs["input_ids"])[None]
        new = torch.from_numpy(after.inputs["input_ids"])[None]
        expected = logits(model, old)[..., kept]
        torch.testing.assert_close(logits(student, new), expected, rtol=0, atol=1e-3)
    assert student.lm_head.weight is student.get_input_embeddings().weight


@pytest.mark.parametrize(
    ("surgery", "keys"),
    [
        ("drop_layers", {"layers": 15}),
        ("drop_layers", {"layers": 15, "keep": "importance"}),
        ("prune_width", {"heads": 6, "intermediate": 1024, "importance": "magnitude"}),
        ("prune_width", {"heads": 6, "intermediate": 1024, "importance": "gradient"}),
        ("prune_width", {"hidden": 480, "heads": 6, "importance": "activation"}),
        ("prune_width", {"heads": 9, "intermediate": 1536, "hidden": 576}),
    ],
)
def test_students_of_fewer_parts_open_in_plain_transformers(
    teacher: Any, rows: Any, surgery: str, keys: dict[str, Any], tmp_path: Path
) -> None:
    """Untrained, they are as far from the teacher as chance (10.8 nats), or further: plain transformers finds the same."""
    import transformers

    model, task, _ = teacher
    student: Any = (
        registry.create("surgeries", surgery, keys).cut(model, Evidence(task, rows)).student
    )
    student.save_pretrained(tmp_path)
    plain: Any = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, attn_implementation="eager"
    )
    found = nats(plain, task, rows[:4])
    whole = nats(model, task, rows[:4])
    num_weights = sum(parameter.numel() for parameter in student.parameters())
    print(surgery, keys, f"{num_weights:,} weights, {found:.3f} nats a token; teacher {whole:.3f}")
    assert found == pytest.approx(nats(student, task, rows[:4]), abs=1e-4)
    if keys.get("hidden") == 576:
        assert found == pytest.approx(whole, abs=1e-4)
