"""Any number of labels a text from end to end: what weather a made-up text names."""

import random
from pathlib import Path

import pytest
from encoders import save_encoder
from references import check_reference_of_run

import limbeck
from limbeck.recipe.reading import parse

WORDS = {"sun": "warm", "wind": "moving", "rain": "wet"}


def write_texts(folder: Path) -> None:
    """train and test of texts with the labels of their words; `calm` has none."""
    folder.mkdir()
    chance = random.Random(0)
    for name, count in (("train", 200), ("test", 60)):
        with open(folder / f"{name}.csv", "w") as file:
            file.write("text,label\n")
            for _ in range(count):
                words = ["calm", *chance.sample(list(WORDS), chance.choice((0, 1, 2)))]
                file.write(
                    f"{' '.join(words)},{';'.join(sorted({WORDS[word] for word in words[1:]}))}\n"
                )


# 11 s; the contracts of tasks hold its head, and test_ranking_run goes the same way from a teacher to an answer.
@pytest.mark.slow
@pytest.mark.usefixtures("untimed")
def test_label_sets_are_learned_and_proven(tmp_path: Path) -> None:
    write_texts(tmp_path / "texts")
    teacher = save_encoder(
        tmp_path / "teacher", [*WORDS, "calm"], vocabulary=60, width=32, layers=2
    )
    text = f"""
task: multi-label-classification
data: {{source: csv, path: {tmp_path / "texts"}, label_separator: ";"}}
teacher: {{model: {teacher}, epochs: 40, learning_rate: 4.0e-3}}
student: {{from: teacher, surgery: drop_layers, layers: 1}}
train: {{epochs: 40, learning_rate: 2.0e-3, batch_tokens: 128, threads: 1, dtype: float32}}
distill: {{losses: {{bernoulli_kl: {{}}}}}}
quantize: {{when: train, range: lsq, error_weight: 1.0e-4, start: 0.5}}
verdict: {{arms: [joint], max_drop: 0.2}}
"""
    report = limbeck.run(parse(text), tmp_path / "run")
    del report["arms"]["baseline"]  # the linear model, which need not learn this
    assert min(row["mean"]["micro_f1"] for row in report["arms"].values()) > 0.9
    (parity,) = report["parity"]
    assert parity["holds"]
    assert parity["units"] == 3 * 60
    assert report["arms"]["joint"]["agreement"] > 0.9
    assert [row["label"] for row in report["arms"]["joint"]["seeds"][0]["per_label"]][:3] == [
        "moving",
        "warm",
        "wet",
    ]
    predictor = limbeck.load(tmp_path / "run" / "artifact")
    assert predictor.predict("calm rain sun")["labels"] == ["warm", "wet"]
    assert predictor.predict("calm")["labels"] == []
    names = check_reference_of_run(text, tmp_path / "run" / "artifact")
    assert names == ["labels", "num_labels", "confidence", "length"]
