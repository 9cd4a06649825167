"""The program in an artifact's README.md runs without limbeck, and answers as `predict` does."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from task_examples import IMAGE, INTENT, SCORE, SEVERAL, TEXT, VOCABULARY

import limbeck
from limbeck.artifact import manifest
from limbeck.artifact.card import card
from limbeck.artifact.proof import golden
from limbeck.core.files import write_json
from limbeck.evaluation.decisions.decision import FILE, Decision
from limbeck.tasks import Task
from limbeck.tasks.image_classification import ImageClassification

onnx = pytest.importorskip("onnx")

RESAMPLED = ImageClassification(
    IMAGE.labels, json.dumps(json.loads(IMAGE.preprocess) | {"resample": "nearest"})
)
TASKS = [
    ("text-classification", INTENT),
    ("token-classification", TEXT),
    ("multi-label-classification", SEVERAL),
    ("text-regression", SCORE),
    ("image-classification", IMAGE),
    ("image-classification", RESAMPLED),
]


def graph(name: str, task: Task) -> bytes:
    """A model of random weights: each token's row of a table, or the pixels times a matrix."""
    helper, numbers = onnx.helper, onnx.TensorProto
    generator = np.random.default_rng(0)
    if "pixel_values" in task.input_names:
        inputs = [("pixel_values", numbers.FLOAT, ["rows", 1, 6, 5])]
        weights = generator.standard_normal((30, len(task.labels)), np.float32)
        nodes = [
            helper.make_node("Flatten", ["pixel_values"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ]
    else:
        inputs = [
            (each, numbers.INT64, ["rows", "tokens"]) for each in ("input_ids", "attention_mask")
        ]
        weights = generator.standard_normal((len(VOCABULARY), len(task.labels)), np.float32)
        one = "token" not in name
        nodes = [
            helper.make_node("Gather", ["weights", "input_ids"], ["each" if one else "logits"])
        ]
        if one:
            nodes.append(helper.make_node("ReduceMean", ["each"], ["logits"], axes=[1], keepdims=0))
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "toy",
            [helper.make_tensor_value_info(*each) for each in inputs],
            [helper.make_tensor_value_info("logits", numbers.FLOAT, None)],
            [onnx.numpy_helper.from_array(weights, "weights")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    return model.SerializeToString()


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_its_program_answers_as_predict_does(name: str, task: Task, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(graph(name, task))
    (tmp_path / task.preprocess_file).write_text(task.preprocess, encoding="utf-8")
    write_json(tmp_path / "labels.json", list(task.labels))
    files = {"onnxruntime": "model.onnx"}
    raw = "Ada lives in New York"
    if "pixel_values" in task.input_names:
        from PIL import Image

        raw = str(tmp_path / "picture.png")
        pixels = np.random.default_rng(1).integers(0, 256, (12, 20, 3), np.uint8)
        Image.fromarray(pixels).save(raw)
    (encoded,) = task.encode([task.row(raw)])
    golden.write({key: value[None] for key, value in encoded.inputs.items()}, files, tmp_path)
    graphs = manifest.graphs_of(files)
    text = card(task=name, labels=list(task.labels), metrics={}, formats={}, graphs=graphs)
    if task.likelihood != "gaussian":
        # A bias by which other labels are the most probable than by the logits.
        bias = np.linspace(3, -3, len(task.labels))
        decision = Decision(likelihood=task.likelihood, temperature=2.0, bias=bias)
        write_json(tmp_path / FILE, decision.to_json())
    manifest.write(tmp_path, name, graphs)

    (program,) = re.findall(r"## With ONNX Runtime alone\n\n```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "program.py").write_text(program.replace('"a text"', repr(raw)), encoding="utf-8")
    # Isolated: neither PYTHONPATH nor this folder is looked through for modules.
    command = [sys.executable, "-I", "-X", "utf8", "program.py"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    answer = limbeck.load(tmp_path).predict(raw)

    if name == "text-regression":
        share = float(ended.stdout.strip().strip("[]"))
        assert answer["score"] == pytest.approx(np.clip(5 * share, 0, 5), abs=1e-5)
        return
    printed = ast.literal_eval(ended.stdout)
    if name == "token-classification":
        # At the first and the last token stand the tokenizer's own marks.
        assert printed[1:-1] == answer["tags"]
    else:
        assert printed == answer.get("labels", [answer.get("label")])
