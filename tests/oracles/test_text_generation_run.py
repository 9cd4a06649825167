"""A run on dialogues, from files to a judged artifact that answers in ONNX Runtime with the trained integers."""

import json
from pathlib import Path

import numpy as np
import pytest
from generation_models import save_model

import limbeck
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
quantize: {{weights: {weights}, group: 32, scale: float16, activations: float}}
verdict: {{max_drop: 0.05, arms: [kd, joint]}}
"""


def dialogue(number: int) -> str:
    asked = {"role": "user", "content": f"where is parcel {number}?"}
    answer = {"role": "assistant", "content": f"parcel {number % 7} is on its way"}
    return json.dumps({"messages": [asked, answer]}) + "\n"


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_a_run_ends_with_the_trained_integers_proven_in_their_runtime(
    weights: str, tmp_path: Path
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
    recipe.write_text(RECIPE.format(data=data, model=tmp_path / "model", weights=weights))
    limbeck.run(read(recipe), tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    (parity,) = (
        report["parity"]["joint"][0] if isinstance(report["parity"], dict) else report["parity"]
    )
    assert parity["holds"] and parity["units"] > 300
    assert abs(parity["metric_difference"]) < 0.002
    joint = report["arms"]["joint"]["mean"]
    assert joint["perplexity"] == pytest.approx(np.exp(joint["nats_per_token"]), rel=1e-6)
    # Every matrix lies in the graph as integers, the table that input and output share once.
    codes = read_codes(tmp_path / "run" / "artifact" / "model.onnx")
    assert len(codes) == 8 and {bits for _, _, bits in codes.values()} == {int(weights[3:])}
    assert "model.embed_tokens.weight" in codes and "lm_head.weight" not in codes
    predictor = limbeck.load(tmp_path / "run" / "artifact")
    writer = text_model_of(predictor)
    # As long as the model reads, and not as the stretches of its training.
    assert writer is not None and writer.decoder.positions == 128
    answer = predictor.predict({"messages": [{"role": "user", "content": "where is parcel 3?"}]})
    assert answer["probabilities"] == sorted(answer["probabilities"], reverse=True)
