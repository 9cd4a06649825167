"""Tagging from end to end on a small made-up language, teacher and student with tokenizers that share no ids."""

import json
import random
from pathlib import Path

import pytest
from encoders import save_encoder
from references import check_reference_of_run

import limbeck
from limbeck.cli.bench import lines as bench_lines
from limbeck.recipe.reading import parse

NAMES = ["Ada", "Grace", "Edsger", "Barbara", "Donald", "Leslie"]
PLACES = ["Paris", "Berlin", "Santiago", "Hanoi", "Nairobi"]
SENTENCES = [
    ("{n} {m} lives in {p} .", "B-PER I-PER O O B-LOC O"),
    ("In {p} it rains .", "O B-LOC O O O"),
    ("Ask {n} about it", "O B-PER O O"),
]


def write_corpus(folder: Path) -> list[str]:
    """train, valid and test files; every word of them."""
    folder.mkdir()
    chance, words = random.Random(0), set()
    for name, count in (("train", 240), ("valid", 40), ("test", 60)):
        blocks = []
        for _ in range(count):
            text, tags = chance.choice(SENTENCES)
            tokens = text.format(
                n=chance.choice(NAMES), m=chance.choice(NAMES), p=chance.choice(PLACES)
            ).split()
            words |= set(tokens)
            blocks.append(
                "\n".join(f"{token} {tag}" for token, tag in zip(tokens, tags.split(), strict=True))
            )
        (folder / f"{name}.txt").write_text("\n\n".join(blocks) + "\n")
    (folder / "unlabelled.txt").write_text("Ask\nGrace\n\nParis\n")
    return sorted(words)


@pytest.mark.slow
@pytest.mark.usefixtures("untimed")
def test_a_student_with_another_tokenizer_learns_and_is_proven(tmp_path: Path) -> None:
    words = write_corpus(tmp_path / "corpus")
    teacher = save_encoder(tmp_path / "teacher", words, vocabulary=120, width=32, layers=1)
    student = save_encoder(
        tmp_path / "student", words, vocabulary=60, width=16, layers=1, lowercase=True
    )
    text = f"""
task: token-classification
data: {{source: conll, path: {tmp_path / "corpus"}}}
teacher: {{model: {teacher}, epochs: 10}}
student: {{model: {student}}}
train: {{epochs: 10, learning_rate: 1.0e-2, batch_tokens: 128, threads: 1, dtype: float32}}
distill: {{losses: {{kl: {{}}, hidden: {{}}}}}}
quantize: {{when: train, range: lsq, error_weight: 1.0e-4, start: 0.5, attention: uint8}}
verdict: {{arms: [kd+ptq, joint], max_drop: 0.2}}
"""
    report = limbeck.run(parse(text), tmp_path / "run")
    assert list(report["arms"]) == ["teacher", "baseline", "kd+ptq", "joint"]
    assert any(note.startswith("kd+ptq, seed 0: quantize: ") for note in report["notes"])
    del report["arms"]["baseline"]  # the linear model, which need not learn this
    assert min(arm["mean"]["f1"] for arm in report["arms"].values()) > 0.9
    assert all(row["holds"] for row in report["parity"])
    answer = limbeck.load(tmp_path / "run" / "artifact").predict("Barbara Leslie lives in Hanoi.")
    assert [(entity["type"], entity["text"]) for entity in answer["entities"]] == [
        ("PER", "Barbara Leslie"),
        ("LOC", "Hanoi"),
    ]
    names = check_reference_of_run(text, tmp_path / "run" / "artifact")
    assert names == ["entities", "entity_share", "confidence", "length"]


INTENTS = {
    "weather": ["will it rain in {p}", "is it cold in {p} today"],
    "call": ["call {n} now", "please ring {n}"],
    "travel": ["book a train to {p}"],
}


def write_intents(folder: Path) -> list[str]:
    """train and test of texts with an intent; every word of them."""
    folder.mkdir()
    chance, words = random.Random(0), set()
    for name, count in (("train", 240), ("test", 60)):
        rows = ["text,intent"]
        for _ in range(count):
            intent = chance.choice(sorted(INTENTS))
            text = chance.choice(INTENTS[intent]).format(
                n=chance.choice(NAMES), p=chance.choice(PLACES)
            )
            words |= set(text.split())
            rows.append(f'"{text}",{intent}')
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
    with open(folder / "train.csv", "a") as file:
        file.write("no label here,\n")
    (folder / "unlabelled.csv").write_text("text\ncall Ada\n")
    return sorted(words)


# 25 s; test_cut_students runs the same head from a teacher to an artifact's answer.
@pytest.mark.slow
def test_a_text_classifier_learns_and_is_proven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = write_intents(tmp_path / "intents")
    teacher = save_encoder(tmp_path / "teacher", words, vocabulary=120, width=32, layers=2)
    student = save_encoder(
        tmp_path / "student", words, vocabulary=60, width=16, layers=2, lowercase=True
    )
    text = f"""
task: text-classification
data: {{source: csv, path: {tmp_path / "intents"}, on_bad_row: quarantine}}
teacher: {{model: {teacher}, epochs: 40, learning_rate: 1.0e-3}}
student: {{model: {student}}}
train: {{epochs: 48, learning_rate: 5.0e-3, batch_tokens: 128, threads: 1, dtype: float32}}
distill: {{losses: {{kl: {{}}, hidden: {{}}}}}}
quantize: {{when: train, range: lsq, error_weight: 1.0e-4, start: 0.5, attention: uint8}}
verdict: {{arms: [joint], max_drop: 0.2}}
"""
    report = limbeck.run(parse(text), tmp_path / "run")
    del report["arms"]["baseline"]  # the linear model, which need not learn this
    assert min(arm["mean"]["accuracy"] for arm in report["arms"].values()) > 0.9
    assert all(row["holds"] for row in report["parity"])
    assert report["bad_rows"] == {"policy": "quarantine", "count": 1}
    assert report["notes"][0].startswith("1 bad rows left out (quarantine.jsonl)")
    (line,) = (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["row"] == {"text": "no label here", "intent": ""}
    assert any("test rows are in train too" in note for note in report["notes"])
    answer = limbeck.load(tmp_path / "run" / "artifact").predict("is it cold in Hanoi today")
    assert answer["label"] == "weather"
    assert set(answer["probabilities"]) == set(INTENTS)
    monkeypatch.chdir(tmp_path)
    check_bench(tmp_path / "run" / "artifact")
    monkeypatch.chdir(tmp_path / "run")
    with pytest.raises(ValueError, match="the test split that this artifact's recipe names"):
        list(bench_lines(tmp_path / "run" / "artifact", None, None, 1, test=True))


def check_bench(artifact: Path) -> None:
    """Times at 128 tokens and in the order of the test split, which the recipe of an artifact names by its last part."""
    said = list(bench_lines(artifact, None, None, 1, test=True))
    assert said[2].startswith("50 texts, 128 tokens each ")
    assert said[3].startswith("60 texts, the test split in order ")
    assert " MB in memory at most" in said[4]
    with pytest.raises(ValueError, match="give one of the two"):
        list(bench_lines(artifact, "texts.txt", None, 1, test=True))
