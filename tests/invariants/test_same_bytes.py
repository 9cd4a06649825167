"""The same key, the same bytes: two processes that share neither hashes nor cores nor a cache leave entries of one name with one content."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from encoders import save_encoder

WORDS = ["it", "rains", "in", "York", "call", "Ada", "Alan", "snow"]

RECIPES = {
    "images": """
task: image-classification
data: {source: sklearn, dataset: digits}
teacher: {model: small_cnn, width: 8, epochs: 1}
student: {model: small_cnn, width: 4}
train: {epochs: 1, augment: [flip, crop], views: 2}
distill: {losses: {kl: {weight: 1}}}
quantize: {when: train, start: 0.3}
verdict: {arms: [kd, kd+ptq, joint], seeds: 1, latency_rows: 10}
""",
    "texts": """
task: text-classification
data: {source: csv, path: DATA}
teacher: {model: ENCODER, epochs: 2}
student: {from: teacher, surgery: drop_layers, layers: 1}
train: {epochs: 2}
distill: {losses: {kl: {weight: 1}, attention: {weight: 0.1}}}
quantize: {when: train}
verdict: {arms: [kd, joint], seeds: 1, latency_rows: 10}
""",
    "words": """
task: token-classification
data: {source: conll, path: DATA}
teacher: {model: ENCODER, epochs: 2}
student: {from: teacher, surgery: drop_layers, layers: 1}
train: {epochs: 2}
distill: {losses: {kl: {weight: 1}, hidden: {weight: 0.1}}}
quantize: {when: train, weights: int4}
verdict: {arms: [kd, joint], seeds: 1, latency_rows: 10}
""",
}

SCRIPT = """
import json, os, sys
cores = json.loads(sys.argv[3])
if cores:
    os.sched_setaffinity(0, cores)
import limbeck
limbeck.run(sys.argv[1], sys.argv[2])
"""


def entries(cache: Path) -> dict[str, object]:
    """The digests of every finished entry, by its name."""
    found = {}
    for listed in sorted(cache.glob("*/files.json")):
        found[listed.parent.name] = json.loads(listed.read_text())["files"]
    return found


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="cores are bound on Linux")
@pytest.mark.parametrize(
    "name",
    [
        "texts",
        pytest.param("images", marks=pytest.mark.nightly),
        pytest.param("words", marks=pytest.mark.nightly),
    ],
)
def test_two_processes_leave_the_same_entries(tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    lines = [f"it rains {word},weather\ncall {word},call\n" for word in WORDS * 3]
    (data / "train.csv").write_text("text,label\n" + "".join(lines))
    (data / "train.txt").write_text("".join(f"call O\n{word} B-PER\n\n" for word in WORDS * 6))
    encoder = save_encoder(tmp_path / "encoder", WORDS, vocabulary=60, width=16, layers=2)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPES[name].replace("DATA", str(data)).replace("ENCODER", encoder))
    found = []
    first = min(os.sched_getaffinity(0))
    for number, cores in enumerate(([first], [])):
        cache = tmp_path / f"cache{number}"
        environment = {**os.environ, "LIMBECK_CACHE": str(cache), "PYTHONHASHSEED": str(number + 1)}
        out = str(tmp_path / f"run{number}")
        command = [sys.executable, "-c", SCRIPT, str(recipe), out, json.dumps(cores)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(entries(cache))
    assert found[0].keys() == found[1].keys()
    assert len(found[0]) >= 8
    assert found[0] == found[1]
