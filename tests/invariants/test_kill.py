"""A run that is killed, at any moment, and started again ends with the bytes of a run that was left alone."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from limbeck.core.files import file_digest, read_json
from limbeck.recipe.reading import parse

pytest.importorskip("torch")  # every test here trains

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
teacher: {model: small_cnn, width: 6, epochs: 1}
student: {model: small_cnn, width: 4}
train: {epochs: 2, learning_rate: 4.0e-3, threads: 1, checkpoint_seconds: 0}
distill: {losses: {kl: {}, hidden: {}}}
quantize: {when: train, range: lsq, error_weight: 1.0e-3, start: 0.4}
"""
PRELOAD = [
    "limbeck.pipeline.runs",
    "limbeck.exporters.onnx",
    "torch._dynamo",
    "torch.export",
    "torch.onnx",
    "transformers.utils",
    "onnxscript.function_libs.torch_lib.ops",
    "onnx",
    "onnxruntime",
    "accelerate",
    "sklearn.datasets",
]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(PRELOAD)


def run_in(cache: Path, out: Path) -> None:
    """The child's whole life."""
    os.environ["LIMBECK_CACHE"] = str(cache)
    from limbeck.pipeline.runs import run

    run(parse(RECIPE), out)


def start(cache: Path, out: Path) -> multiprocessing.Process:
    process = FORKS.Process(target=run_in, args=(cache, out))
    process.start()
    return process


def finish(cache: Path, out: Path) -> dict[str, str]:
    """Run to the end; the digest of the final weights and of every file of the artifact but the card,
    which tells milliseconds."""
    process = start(cache, out)
    process.join()
    assert process.exitcode == 0
    return result(out, cache)


def result(out: Path, cache: Path) -> dict[str, str]:
    (trained,) = [
        record["entry"]
        for record in read_json(out / "stages.json")
        if record["name"].startswith("train")
    ]
    files = {path.name: file_digest(path) for path in sorted((out / "artifact").iterdir())}
    del files["README.md"]
    return files | {
        "weights": file_digest(cache / trained / "model.safetensors"),
        "history": file_digest(cache / trained / "history.json"),
    }


def kill_at_random(tmp_path: Path, kills: int) -> None:
    # The server of forks imports what it preloads before its first fork: no moment to kill a run.
    imported = FORKS.Process(target=os.getpid)
    imported.start()
    imported.join()
    began = time.monotonic()
    expected = finish(tmp_path / "calm-cache", tmp_path / "calm")
    duration = time.monotonic() - began
    chance = random.Random(0)
    killed = lives = 0
    while killed < kills:
        lives += 1
        cache, out = tmp_path / f"cache{lives}", tmp_path / f"out{lives}"
        while killed < kills:
            process = start(cache, out)
            process.join(chance.uniform(0, duration))
            if process.exitcode is not None:
                assert process.exitcode == 0
                break
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            killed += 1
        assert finish(cache, out) == expected, f"after {killed} kills"


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bytes(tmp_path: Path) -> None:
    kill_at_random(tmp_path, 1)


@pytest.mark.nightly
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(tmp_path: Path) -> None:
    kill_at_random(tmp_path, 4)


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_exports_goes_on(tmp_path: Path) -> None:
    """What the export had begun to write was taken for a part of the artifact, in every later life."""
    expected = finish(tmp_path / "calm-cache", tmp_path / "calm")
    cache, out = tmp_path / "cache", tmp_path / "out"
    process = start(cache, out)
    while not list(cache.glob("export-*.partial/artifact/exporting-*")):
        assert process.exitcode is None
        time.sleep(0.001)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list(cache.glob("export-*.partial/artifact/exporting-*"))
    assert finish(cache, out) == expected


@pytest.mark.nightly
def test_fifty_kills(tmp_path: Path) -> None:
    kill_at_random(tmp_path, 50)


@pytest.mark.parametrize(
    "signum", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_stopped_run_checkpoints_and_exits_with_3(tmp_path: Path, signum: signal.Signals) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        RECIPE.replace("checkpoint_seconds: 0", "checkpoint_seconds: 3600").replace(
            "epochs: 2", "epochs: 400"
        )
    )
    command = [sys.executable, "-m", "limbeck", "run", str(recipe), "--out", str(tmp_path / "out")]
    environment = {**os.environ, "LIMBECK_CACHE": str(tmp_path / "cache")}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if (event := json.loads(line))["event"] == "epoch" and event["epoch"] > 5:
                break
        process.send_signal(signum)
        message = process.stderr.read()
    assert process.returncode == 3, message
    assert "the same command goes on" in message
    assert list((tmp_path / "cache").glob("train-*.partial/checkpoint/last.safetensors"))
