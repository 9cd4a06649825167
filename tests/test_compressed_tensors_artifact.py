"""An artifact that is a folder of compressed-tensors too: opened and proven in plain transformers, in a process that knows nothing of limbeck."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf_toys as toys
import numpy as np
import pytest
from generation_artifacts import ROWS, logits_of, task_of, trained, write_artifact

import limbeck
from limbeck.artifact.compressed_tensors import graph as opening
from limbeck.artifact.compressed_tensors import rounding
from limbeck.artifact.generation.answering import Asked
from limbeck.artifact.generation.text_model import text_model_of
from limbeck.artifact.model_process import proof
from limbeck.artifact.model_process.graph import ProcessGraph
from limbeck.artifact.proof import parity
from limbeck.training.scoring import score_split

# A process of torch starts in seconds.
pytestmark = pytest.mark.services
pytest.importorskip("compressed_tensors")

NAMES = ["onnx", "compressed_tensors"]
MIXED = {"weights": "int8", "activations": "float", "group": 32, "scale": "float16"}
DOCUMENTS = [[1, 5, 9, 200, 30, 7], [7, 8, 9, 12, 77]]

# What the guide shows, where limbeck cannot be imported.
PLAIN = """
import importlib.util, json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = sys.argv[1]
model = AutoModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
ids = tokenizer(sys.argv[2], return_tensors="pt")
with torch.no_grad():
    logits = model(**ids).logits[0]
print(json.dumps({
    "limbeck": "limbeck" in sys.modules,
    "ids": ids["input_ids"][0].tolist(),
    "last": logits[-1].tolist(),
}))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toys.toy_folder(tmp_path_factory.mktemp("toy") / "model", "llama")


@pytest.fixture(scope="module")
def artifact(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "artifact"
    return write_artifact(trained(source, "int4"), task_of(source), NAMES, folder)


@pytest.fixture(scope="module")
def graph(artifact: Path) -> ProcessGraph:
    return opening.open_folder(artifact, 1)


def proof_of(model: Any, artifact: Path, source: Path, work: Path) -> list[dict[str, Any]]:
    task = task_of(source)
    scored = score_split(model, task.encode(ROWS), task, one_by_one=True)
    return parity.prove(artifact, scored, ROWS, task, work)


@pytest.mark.parametrize(
    ("kind", "keys", "changes"),
    [
        ("qwen2", {"weights": "int4"}, {"tie_word_embeddings": False}),
        ("llama", {"weights": "int4", "modules": {"*mlp*": MIXED}}, {}),
        ("qwen3", {"weights": "int3"}, {}),
    ],
)
def test_every_kind_of_integers_is_proven(
    kind: str, keys: dict[str, Any], changes: dict[str, Any], tmp_path: Path
) -> None:
    source = toys.toy_folder(tmp_path / "toy", kind, **changes)
    model = trained(source, **keys)
    artifact = write_artifact(model, task_of(source), NAMES[1:], tmp_path / "artifact")
    (found,) = proof_of(model, artifact, source, tmp_path)
    assert found["runtime"] == "transformers" and found["holds"], found["failures"]
    # No last bits are asked for, and nothing is rounded on the way.
    assert found["flips"] == 0 and found["last_bits"] is None
    assert found["max_abs_logit_difference"] < 1e-4 and found["rounding_difference"] == 0


def test_both_graphs_are_proven(artifact: Path, source: Path, tmp_path: Path) -> None:
    onnx, plain = proof_of(trained(source, "int4"), artifact, source, tmp_path)
    assert (onnx["runtime"], plain["runtime"]) == ("onnxruntime", "transformers")
    assert onnx["holds"] and plain["holds"], plain["failures"]
    # Rows of a few tokens: every one is gone on with, and as the reference would.
    rows = len(task_of(source).encode(ROWS))
    expected = {"answers": rows, "tokens": 32, "first_differences": [None] * rows}
    assert plain["greedy"] == expected and "greedy" not in onnx
    assert plain["perplexity"] == pytest.approx(plain["trained_perplexity"], rel=1e-5)


def test_rounded_activations_are_held_against_a_reference_that_rounds_alike(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained(source, activations="int8-dynamic")
    artifact = write_artifact(model, task_of(source), NAMES, tmp_path / "artifact")
    _, plain = proof_of(model, artifact, source, tmp_path)
    assert plain["holds"], plain["failures"]
    # Their scales are not those of the training.
    assert abs(plain["file_difference"]) < 1e-5 < abs(plain["rounding_difference"])
    # As if the package rounded to half as many levels.
    monkeypatch.setattr(rounding, "STEPS", rounding.STEPS / 16)
    monkeypatch.setattr(rounding, "HIGHEST", 7)
    _, refused = proof_of(model, artifact, source, tmp_path)
    assert not refused["holds"] and any("off by" in each for each in refused["failures"])


def test_another_model_s_folder_is_refused(artifact: Path, source: Path, tmp_path: Path) -> None:
    """Though transformers computes it as the reference does."""
    task = task_of(source)
    scored = score_split(trained(source, "int4"), task.encode(ROWS), task, one_by_one=True)
    logits = scored.logits.copy()
    logits[:, 0] += 0.5
    _, plain = parity.prove(artifact, replace(scored, logits=logits), ROWS, task, tmp_path)
    assert any(each.startswith("the file in float32: ") for each in plain["failures"])


def test_texts_are_scored_and_said_as_the_reference_does(artifact: Path) -> None:
    decoder = opening.reference_of(artifact, rounds=True)
    found = proof.prove(opening.run(artifact), decoder, DOCUMENTS)
    assert not found.reasons and found.largest < 1e-4
    assert found.first_differences == (None, None)
    assert found.lines()[0].startswith(f"transformers: perplexity {math.exp(found.nats):.4f} on 9")


def test_it_opens_where_limbeck_is_not(artifact: Path, source: Path, tmp_path: Path) -> None:
    # Isolated: no PYTHONPATH, nothing of the user's own, and another folder to stand in.
    command = [sys.executable, "-I", "-c", PLAIN, str(artifact), toys.TEXTS[0]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert not told["limbeck"]
    expected = logits_of(trained(source, "int4"), told["ids"])
    np.testing.assert_allclose(told["last"], expected[-1], atol=1e-4)
    writer = text_model_of(limbeck.load(artifact))
    assert writer is not None and writer.prompt_of_text(toys.TEXTS[0]) == told["ids"]


def test_logits_come_by_place_and_whole(graph: ProcessGraph, source: Path) -> None:
    ids = np.random.default_rng(1).integers(0, toys.VOCABULARY, 20)
    expected = logits_of(trained(source, "int4"), ids.tolist())
    at = graph.logits_at(ids, np.array([3, 19]))
    np.testing.assert_allclose(at, expected[[3, 19]], atol=1e-4)
    nats, top = graph.scores_at(ids, np.array([3, 18]), ids[[4, 19]])
    wide = expected[[3, 18]].astype(np.float64)
    shares = wide - np.log(np.exp(wide).sum(1, keepdims=True))
    np.testing.assert_allclose(nats, shares[[0, 1], ids[[4, 19]]], atol=1e-4)
    np.testing.assert_array_equal(top, expected[[3, 18]].argmax(1))
    with pytest.raises(ValueError, match="129 tokens, and the model reads 1 to 128"):
        graph.logits_at(np.zeros(129, np.int64), np.array([0]))


def test_a_conversation_goes_on_where_it_was(graph: ProcessGraph) -> None:
    ids = np.random.default_rng(2).integers(0, toys.VOCABULARY, 12)
    expected = graph.logits_at(ids, np.array([4, 5, 11]))
    one, other = graph.cache(20), graph.cache(20)
    np.testing.assert_allclose(graph.logits(ids[:5], one)[-1], expected[0], atol=1e-4)
    np.testing.assert_allclose(graph.logits(ids[5:6], one)[-1], expected[1], atol=1e-4)
    # Another conversation comes between, and this one is read again.
    graph.logits(ids[::-1][:7], other)
    np.testing.assert_allclose(graph.logits(ids[6:], one)[-1], expected[2], atol=1e-4)


def test_answers_are_those_of_the_other_graph(artifact: Path) -> None:
    said = []
    for runtime in ("onnxruntime", "transformers"):
        writer = text_model_of(limbeck.load(artifact, runtime=runtime))
        assert writer is not None
        prompt = writer.prompt_of_messages([{"role": "user", "content": "hello"}])
        asked = Asked(max_tokens=12, end_ids=writer.end_ids)
        pieces = writer.answer(prompt, asked)
        said.append([piece.token for piece in pieces if piece.token is not None])
    assert said[0] == said[1] and len(said[0]) > 5
    with opening.run(artifact) as model:
        assert model.generate(prompt, 12)["tokens"] == said[0]
        text = toys.TEXTS[2]
        assert model.tokenize(text, special=True) == writer.prompt_of_text(text)


def test_a_folder_that_lacks_a_weight_is_refused_in_transformers_own_words(
    artifact: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in artifact.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    (broken / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    with pytest.raises(ValueError, match=r"model\.safetensors: no whole safetensors file"):
        opening.open_folder(broken, 1)
    with pytest.raises(ValueError, match=r"transformers has ended: .*"), opening.run(broken):
        pass
