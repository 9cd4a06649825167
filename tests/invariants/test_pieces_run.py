"""From texts in a script that no model at hand knows to an artifact that answers them, without weights of others."""

from pathlib import Path
from typing import Any

import pytest

import limbeck
from limbeck.core import registry

pytest.importorskip("torch")  # limbeck.run trains

TRAIN = "{epochs: 12, batch_tokens: 512, weight_decay: 0.1, learning_rate: 8.0e-3, threads: 1}"
RECIPE = """
task: TASK
data: {source: rows}
teacher: {model: ngrams, width: 16, epochs: 8}
student: {model: ngrams, width: 8, buckets: 256}
train: TRAIN
distill: {losses: {kl: {}}}
quantize: {when: train, start: 0.5}
verdict: {arms: [joint], max_drop: 1, min_speedup: 0, latency_rows: 2}
"""
WORDS = {"погода": ["дождь", "ветер", "снег"], "еда": ["хлеб", "сыр", "каша"]}


def texts(count: int) -> list[dict[str, Any]]:
    rows = []
    for number in range(count):
        label = list(WORDS)[number % 2]
        word = WORDS[label][number % 3]
        rows.append({"text": f"{number} сегодня {word}", "label": label})
    return rows


def sentences(count: int) -> list[dict[str, Any]]:
    rows = []
    for number in range(count):
        word = WORDS["еда"][number % 3]
        name = ["Анна", "Олег"][number % 2]
        rows.append({"words": [name, "ест", word, str(number)], "tags": ["B-PER", "O", "O", "O"]})
    return rows


@pytest.mark.usefixtures("untimed")
@pytest.mark.parametrize(
    ("task", "make", "given", "expected"),
    [
        ("text-classification", texts, "завтра снег", "погода"),
        ("token-classification", sentences, "Анна ест сыр", "PER"),
    ],
)
def test_a_run_without_a_pretrained_model(
    task: str, make: Any, given: str, expected: str, tmp_path: Path
) -> None:
    rows = {"train": make(120), "validation": make(24), "test": make(24)}
    recipe = limbeck.parse(RECIPE.replace("TASK", task).replace("TRAIN", TRAIN))
    report = limbeck.run(recipe, tmp_path / "run", rows=rows)
    assert report["arms"]["joint"]["mean"][report["metric"]["name"]] > 0.9
    answer = limbeck.load(tmp_path / "run" / "artifact").predict([given])[0]
    found = answer.get("label") or answer["entities"][0]["type"]
    assert found == expected


def test_a_network_of_images_reads_no_texts(tmp_path: Path) -> None:
    recipe = RECIPE.replace("TASK", "text-classification").replace("TRAIN", TRAIN)
    recipe = recipe.replace("model: ngrams, width: 16", "model: small_cnn, width: 16")
    with pytest.raises(ValueError, match=r"this network of ours reads images\. .*`model: ngrams`"):
        limbeck.run(limbeck.parse(recipe), tmp_path / "run", rows={"train": texts(60)})


@pytest.mark.parametrize("task", ["ranking", "sentence-embedding"])
def test_a_network_of_pieces_has_no_vectors_of_texts(task: str) -> None:
    """What was told was a sentence of torch about the sizes of two tensors."""
    from limbeck.models.preprocessing import preprocess

    with pytest.raises(ValueError, match=r"the task compares vectors of texts\. Take an encoder"):
        preprocess("ngrams", registry.load("tasks", task), texts(4), 64)
