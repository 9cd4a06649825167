"""Scores of pairs from end to end: how warm the weather of two made-up texts is."""

import json
import random
from pathlib import Path

import pytest
from encoders import save_encoder
from references import check_reference_of_run

import limbeck
from limbeck.cli import main
from limbeck.recipe.reading import parse

WORDS = {"sun": 2.0, "wind": 0.5, "rain": 0.25, "snow": 0.0}


def write_pairs(folder: Path) -> None:
    """train and test of pairs with a score from 0 to 6."""
    folder.mkdir()
    chance = random.Random(0)
    for name, count in (("train", 240), ("test", 60)):
        with open(folder / f"{name}.jsonl", "w") as file:
            for _ in range(count):
                one, two = (chance.sample(list(WORDS), chance.choice((1, 2, 3))) for _ in range(2))
                score = sum(WORDS[word] for word in (*one, *two))
                file.write(
                    json.dumps({"text": " ".join(one), "text_b": " ".join(two), "label": score})
                    + "\n"
                )
    (folder / "unlabelled.jsonl").write_text('{"text": "sun", "text_b": "sun rain"}\n')


# 15 s; the contracts of tasks hold its head, and test_ranking_run goes the same way from a teacher to an answer.
@pytest.mark.slow
@pytest.mark.usefixtures("untimed")
def test_a_score_of_pairs_is_learned_and_proven(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pairs(tmp_path / "pairs")
    teacher = save_encoder(tmp_path / "teacher", WORDS, vocabulary=60, width=32, layers=2)
    text = f"""
task: text-regression
data: {{source: jsonl, path: {tmp_path / "pairs"}, text_b: text_b}}
teacher: {{model: {teacher}, epochs: 60}}
student: {{from: teacher, surgery: drop_layers, layers: 1}}
train: {{epochs: 60, learning_rate: 2.0e-3, batch_tokens: 128, threads: 1, dtype: float32}}
distill: {{losses: {{logit_mse: {{}}}}}}
quantize: {{when: train, range: lsq, error_weight: 1.0e-4, start: 0.5}}
verdict: {{arms: [joint], max_drop: 0.2, metric: root_mean_square_error}}
"""
    report = limbeck.run(parse(text), tmp_path / "run")
    means = {arm: row["mean"] for arm, row in report["arms"].items()}
    assert min(mean["spearman"] for mean in means.values()) > 0.8
    assert all(row["holds"] for row in report["parity"])
    rise = means["joint"]["root_mean_square_error"] - means["teacher"]["root_mean_square_error"]
    assert report["verdict"]["drop"] == pytest.approx(rise)
    (tmp_path / "asked.jsonl").write_text(
        '{"text": "sun rain", "text_b": "wind sun"}\n{"text": "rain", "text_b": "snow"}\n'
    )
    assert (
        main.exit_status(
            ["predict", str(tmp_path / "run" / "artifact"), str(tmp_path / "asked.jsonl")]
        )
        == 0
    )
    warm, cold = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert warm["input"] == {"text": "sun rain", "text_b": "wind sun"}
    assert warm["score"] > 3 > 1 > cold["score"]
    names = check_reference_of_run(text, tmp_path / "run" / "artifact")
    assert names == ["score", "length"]
