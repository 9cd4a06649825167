"""On a real GPU (`pytest -m gpu`): whole runs beside the CPU's, and a training that is killed and goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from encoders import save_encoder
from safetensors import safe_open
from safetensors.torch import load_file
from test_runs import RECIPES, WORDS, sentences

from limbeck.core.cache.store import Store
from limbeck.models.weights import WEIGHTS
from limbeck.pipeline.arm import Arm, run_arm
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.recipe.reading import parse

pytestmark = pytest.mark.gpu

DIGITS = """
task: image-classification
data: {source: sklearn, dataset: digits}
teacher: {model: small_cnn, width: 6, epochs: 1}
student: {model: small_cnn, width: 4}
train: {epochs: 8, learning_rate: 4.0e-3, threads: 1, device: cuda, checkpoint_seconds: 0}
distill: {losses: {kl: {}, hidden: {}}}
quantize: {when: train, range: lsq, error_weight: 1.0e-3, start: 0.4}
"""


def run(name: str, model: str, store: Path, device: str) -> Arm:
    text = RECIPES[name].replace("MODEL", model)
    recipe = compatibility.resolved(parse(text, overrides=[f"train.device={device}"]))
    rows = None if name.startswith("images") else sentences(name)
    context = RunContext(recipe, Store(store), rows=rows)
    return run_arm(recipe, context.store, run=context)


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_on_the_gpu_is_near_the_run_on_the_cpu(name: str, tmp_path: Path) -> None:
    """In float32, without dropout; kernels add in another order, and a level may fall otherwise."""
    model = save_encoder(tmp_path / "model", WORDS, vocabulary=60, width=8, layers=2)
    path = tmp_path / "model" / "config.json"
    path.write_text(path.read_text().replace('_dropout_prob": 0.1', '_dropout_prob": 0.0'))
    on_cpu = run(name, model, tmp_path / "cpu", "cpu")
    on_gpu = run(name, model, tmp_path / "gpu", "cuda")
    first, second = (load_file(arm.weights / WEIGHTS) for arm in (on_cpu, on_gpu))
    for key, tensor in first.items():
        torch.testing.assert_close(second[key].float(), tensor.float(), atol=5e-3, rtol=5e-2)


def start(cache: Path, recipe: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "limbeck", "run", str(recipe), "--out", str(out)]
    environment = {**os.environ, "LIMBECK_CACHE": str(cache)}
    environment["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def test_a_run_that_is_killed_on_the_gpu_goes_on(tmp_path: Path) -> None:
    recipe, cache = tmp_path / "digits.yaml", tmp_path / "cache"
    recipe.write_text(DIGITS)
    process = start(cache, recipe, tmp_path / "run")
    step = 0
    while step < 20:
        assert process.poll() is None
        for path in cache.glob("train-*.partial/checkpoint/last.safetensors"):
            with safe_open(path, "pt") as file:
                step = int(file.metadata()["step"])
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert start(cache, recipe, tmp_path / "run").wait() in (0, 1)
    assert (tmp_path / "run" / "artifact").is_dir()
