"""A run on dialogues, from files to a judged artifact that answers in ONNX Runtime with the trained integers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generation_models import save_model

import limbeck
from limbeck.artifact.generation.answering import Asked
from limbeck.artifact.generation.text_model import text_model_of
from limbeck.exporters.onnx_decoder import read_codes
from limbeck.recipe.reading import read

pytestmark = pytest.mark.slow

RECIPE = """
task: text-generation
data: {{source: jsonl, path: {data}}}
teacher: {{model: {model}, epochs: 2, learning_rate: 5.0e-3}}
student: {{from: teacher, surgery: drop_layers, layers: 1}}
train: {{epochs: 2, learning_rate: 5.0e-3, max_tokens: 32, batch_tokens: 512, threads: 1, dtype: float32}}
distill: {{losses: {{kl: {{temperature: 1.0}}}}}}
quantize: {{weights: {weights}, group: 32, scale: float16, activations: float, kv_cache: {kept}}}
verdict: {{max_drop: 0.05, arms: [kd, joint]}}
"""


def dialogue(number: int) -> str:
    asked = {"role": "user", "content": f"where is parcel {number}?"}
    answer = {"role": "assistant", "content": f"parcel {number % 7} is on its way"}
    return json.dumps({"messages": [asked, answer]}) + "\n"


@pytest.mark.parametrize(
    ("weights", "kept"),
    [
        ("int4", "float"),
        ("int8", "int8"),
        pytest.param("int8", "float", marks=pytest.mark.nightly),
    ],
)
def test_a_run_ends_with_the_trained_integers_proven_in_their_runtime(
    weights: str, kept: str, tmp_path: Path
) -> None:
    save_model(tmp_path / "model")
    data = tmp_path / "data"
    data.mkdir()
    for split, numbers in {
        "train": range(70),
        "valid": range(70, 105),
        "test": range(105, 140),
    }.items():
        (data / f"{split}.jsonl").write_text("".join(map(dialogue, numbers)))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        RECIPE.format(data=data, model=tmp_path / "model", weights=weights, kept=kept)
    )
    limbeck.run(read(recipe), tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    (parity,) = (
        report["parity"]["joint"][0] if isinstance(report["parity"], dict) else report["parity"]
    )
    assert parity["holds"] and parity["units"] > 300
    assert abs(parity["metric_difference"]) < 0.002
    joint = report["arms"]["joint"]["mean"]
    assert joint["perplexity"] == pytest.approx(np.exp(joint["nats_per_token"]), rel=1e-6)
    check_written(report["written"], tmp_path / "run" / "artifact", data)
    # Every matrix lies in the graph as integers, the table that input and output share once.
    codes = read_codes(tmp_path / "run" / "artifact" / "model.onnx")
    assert len(codes) == 8 and {bits for _, _, bits in codes.values()} == {int(weights[3:])}
    assert "model.embed_tokens.weight" in codes and "lm_head.weight" not in codes
    predictor = limbeck.load(tmp_path / "run" / "artifact")
    writer = text_model_of(predictor)
    # As long as the model reads, and not as the stretches of its training.
    assert writer is not None and writer.decoder.positions == 128
    # Codes of a byte with scales of two, or floats.
    kept_in = {buffer.numpy().itemsize for buffer in writer.decoder.cache(8).buffers}
    assert kept_in == ({1, 2} if kept == "int8" else {4})
    answer = predictor.predict({"messages": [{"role": "user", "content": "where is parcel 3?"}]})
    assert answer["probabilities"] == sorted(answer["probabilities"], reverse=True)


def check_written(written: dict[str, Any], artifact: Path, data: Path) -> None:
    """What the models write, in the report, on the page and by `evaluate`."""
    assert list(written["writers"]) == ["teacher", "kd", "joint"] and written["shipped"] == "joint"
    assert (written["questions"], written["rows"], written["most_tokens"]) == (35, 35, 64)
    assert len(written["examples"]) == 10
    first = written["examples"][0]
    assert first["question"] == "user: where is parcel 105?"
    assert first["reference"] == "parcel 0 is on its way"
    page = (artifact.parent / "report.html").read_text(encoding="utf-8")
    assert '<section id="writing">' in page and "user: where is parcel 105?" in page
    # The greedy answers of the graph are those that `predict` gives.
    writer = text_model_of(limbeck.load(artifact))
    assert writer is not None
    prompt = writer.prompt_of_messages([{"role": "user", "content": "where is parcel 105?"}])
    pieces = list(writer.answer(prompt, Asked(max_tokens=64, end_ids=writer.end_ids)))
    assert "".join(piece.text for piece in pieces).strip() == first["answers"]["joint"]
    timed = written["speed"]["by_writer"]
    assert timed["teacher"]["speedup"] == 1
    assert min(each["resident_mb"] for each in timed.values()) > 20
    assert min(each["tokens_per_second"] for each in timed.values()) > 0
    # By itself, on the same file.
    found = limbeck.evaluate(artifact, data / "test.jsonl")
    own = written["writers"]["joint"]
    assert {key: found["written"][key] for key in own if key != "runtime"} == {
        key: value for key, value in own.items() if key != "runtime"
    }
    rows = [json.loads(line) for line in (data / "test.jsonl").read_text().splitlines()]
    assert limbeck.evaluate(artifact, rows)["metrics"] == found["metrics"]
    assert limbeck.evaluate(artifact, data)["rows"] == 35
    with pytest.raises(ValueError, match="rows:2: messages, prompt and response, or a text"):
        limbeck.evaluate(artifact, [rows[0], {"label": "x"}])
    with pytest.raises(ValueError, match="dialogues and texts are read from"):
        limbeck.evaluate(artifact, data.parent / "recipe.yaml")
