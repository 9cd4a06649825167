"""What a run is timed beside whose exporters write integers alone, as compressed-tensors does."""

import json
from pathlib import Path

import pytest
from generation_models import save_model

import limbeck
from limbeck.exporters.requirements import exporters_of_float
from limbeck.recipe.reading import read

RECIPE = """
task: text-generation
data: {{source: jsonl, path: {data}}}
teacher: {{model: {model}, epochs: 1}}
student: {{from: teacher, surgery: drop_layers, layers: 1}}
train: {{epochs: 1, max_tokens: 32, batch_tokens: 512, threads: 1, dtype: float32}}
distill: {{losses: {{kl: {{}}}}}}
quantize: {{weights: int8}}
export: {exporters}
verdict: {{arms: [kd, joint], latency_rows: 2, min_speedup: 0}}
"""


def recipe_of(folder: Path, exporters: str) -> Path:
    save_model(folder / "model")
    data = folder / "data"
    data.mkdir()
    for split, first in {"train": 0, "valid": 40, "test": 80}.items():
        asked = [f"where is parcel {number}?" for number in range(first, first + 40)]
        rows = [{"prompt": text, "response": f"{text[-3]} is on its way"} for text in asked]
        (data / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(data=data, model=folder / "model", exporters=exporters))
    return recipe


def test_float_graphs_are_written_by_exporters_that_write_float_models() -> None:
    names = ["onnx", "compressed_tensors", "gguf"]
    assert exporters_of_float(names) == ["onnx", "gguf"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "exporters",
    [
        "[onnx, compressed_tensors]",
        pytest.param("[compressed_tensors]", marks=pytest.mark.nightly),
    ],
)
def test_a_run_is_timed_where_a_folder_holds_integers_alone(exporters: str, tmp_path: Path) -> None:
    found = limbeck.run(read(recipe_of(tmp_path, exporters)), tmp_path / "run")
    timed = found["speed"]["subjects"]
    assert "joint, transformers" in timed and "teacher, transformers" not in timed
    has_graph = "onnx," in exporters
    assert ("teacher, onnxruntime" in timed) == has_graph
    assert ("float kd, pytorch" in timed) != has_graph
    factors = found["speed"]["product"]
    assert factors["total"]["ratio"] > 0
    if not has_graph:
        assert factors["integers"]["reason"] == "no float model is written for transformers"
