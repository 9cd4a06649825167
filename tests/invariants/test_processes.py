"""Two processes that share each batch end with the weights of one, and a run of two survives a kill."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from encoders import save_encoder
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import BertConfig

import limbeck

IMAGES = """
task: image-classification
data: {source: sklearn, dataset: digits}
teacher: {model: small_cnn, width: 4, depth: 1, epochs: 1}
student: {model: small_cnn, width: 2, depth: 1}
train: {epochs: 1, learning_rate: 2.0e-3, batch_rows: 50, threads: 1, device: cpu, seed: 0, checkpoint_seconds: 0}
distill: {losses: {kl: {}, similarity: {}}}
quantize: {when: train, range: lsq, error_weight: 1.0e-3, start: 0.4}
"""
TEXTS = """
task: token-classification
data: {source: conll, path: DATA}
teacher: {model: MODEL, epochs: 1}
student: {from: teacher, surgery: drop_layers, layers: 1}
train: {epochs: 1, learning_rate: 1.0e-3, batch_tokens: 96, threads: 1, device: cpu, dtype: float32}
distill: {losses: {kl: {}, hidden: {}}}
quantize: {when: train, range: lsq, error_weight: 1.0e-3, start: 0.4}
"""
WORDS = ["Ada", "lives", "in", "York", "and", "Bo", "met", "Cy", "there", "."]
TAGS = {"Ada": "B-PER", "Bo": "B-PER", "Cy": "B-PER", "York": "B-LOC"}


def start(
    recipe: Path, out: Path, processes: int, *overrides: str, verb: str = "run"
) -> subprocess.Popen[str]:
    """`limbeck run`, in one process or under torchrun, with a cache of its own beside `out`."""
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone"]
        launcher += [f"--nproc_per_node={processes}"]
    command = [*launcher, "-m", "limbeck", verb, str(recipe), *overrides]
    if verb == "run":
        command += ["--out", str(out)]
    environment = {
        **os.environ,
        "LIMBECK_CACHE": str(out.with_name(out.name + "-cache")),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def weights(out: Path, stage: str = "train") -> dict[str, torch.Tensor]:
    """What the student's training left, or the teacher's."""
    (folder,) = out.with_name(out.name + "-cache").glob(f"{stage}-*")
    return load_file(folder / "model.safetensors")


def checkpointed_step(cache: Path) -> int:
    """The step that the student's training would go on from; 0 before its first checkpoint."""
    for path in cache.glob("train-*.partial/checkpoint/last.safetensors"):
        with safe_open(path, "pt") as file:
            return int(file.metadata()["step"])
    return 0


def finish(process: subprocess.Popen[str], *, status: int = 0) -> str:
    said, _ = process.communicate(timeout=300)
    assert process.returncode == status, said
    return said


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A recipe of tags with an encoder without dropout, whose draws two processes cannot share."""
    model = tmp_path / "model"
    save_encoder(model, WORDS, vocabulary=60, width=8, layers=2)
    config = BertConfig.from_pretrained(model)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    config.save_pretrained(model)
    data = tmp_path / "data"
    data.mkdir()
    lines = []
    for number in range(120):
        sentence = [WORDS[(number * step + step) % len(WORDS)] for step in range(1, 3 + number % 7)]
        lines += [f"{word} {TAGS.get(word, 'O')}" for word in sentence] + [""]
    for split in ("train", "valid", "test"):
        (data / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = TEXTS.replace("DATA", str(data)).replace("MODEL", str(model))
    recipe = tmp_path / "texts.yaml"
    recipe.write_text(text, encoding="utf-8")
    return recipe


@pytest.fixture
def images(tmp_path: Path) -> Path:
    recipe = tmp_path / "images.yaml"
    recipe.write_text(IMAGES, encoding="utf-8")
    return recipe


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["images", pytest.param("texts", marks=pytest.mark.nightly)])
def test_two_processes_end_with_the_weights_of_one(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch norm, a loss between rows, learned steps and the error term included.

    The sums of two halves round otherwise than one sum. A float training stays within 1e-5 of one
    process; in a quantized one a value at the edge of two levels falls either way, and weights
    differ by up to 2e-4 after 26 steps (docs/log.md).
    """
    recipe: Path = request.getfixturevalue(kind)
    one, two = tmp_path / "one", tmp_path / "two"
    # The one process is this one, which has imported what a new one would take 5 s for.
    monkeypatch.setenv("LIMBECK_CACHE", str(one.with_name("one-cache")))
    limbeck.run(limbeck.read(recipe), one)
    said = finish(start(recipe, two, 2))
    assert said.count("train (joint, seed 0)") >= 1
    for stage, tolerance in (("teacher", 1e-5), ("train", 5e-4)):
        first, second = weights(one, stage), weights(two, stage)
        assert first.keys() == second.keys()
        for name, tensor in first.items():
            difference = (second[name].float() - tensor.float()).abs().max().item()
            assert difference <= tolerance, (stage, name)
    # Process 0 alone writes: each stage is there once, and nothing half done is left.
    cache = two.with_name("two-cache")
    names = Counter(path.name.split("-")[0] for path in cache.iterdir() if path.name != "locks")
    assert names == Counter(
        path.name.split("-")[0]
        for path in one.with_name("one-cache").iterdir()
        if path.name != "locks"
    )
    assert not list(cache.glob("*.partial"))


@pytest.mark.slow
def test_a_process_that_dies_ends_all_and_the_run_goes_on(images: Path, tmp_path: Path) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    finish(start(images, calm, 2, "train.epochs=4"))
    process = start(images, killed, 2, "train.epochs=4")
    cache = killed.with_name("killed-cache")
    while checkpointed_step(cache) < 5:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    finish(process, status=1)
    said = finish(start(images, killed, 2, "train.epochs=4"))
    assert "going on from step" in said
    first, second = weights(calm), weights(killed)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_more_processes_than_rows_is_refused(images: Path, tmp_path: Path) -> None:
    process = start(images, tmp_path / "out", 2, "train.batch_rows=1")
    said = finish(process, status=1)
    assert "2 processes share each batch, and one of these batches has 1 row" in said
    assert str(Path("limbeck", "pipeline")) not in said  # no traceback of ours
    assert said.count("limbeck: ") == 1
    assert "or run without torchrun" in said


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["images", pytest.param("texts", marks=pytest.mark.nightly)])
def test_what_a_run_of_two_accepts_a_check_of_two_accepts_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    recipe: Path = request.getfixturevalue(kind)
    process = start(recipe, tmp_path / "out", 2, verb="check")
    said = finish(process)
    assert said.splitlines().count("ok") == 1
    assert said.count("data: ") == len({line for line in said.splitlines() if "data: " in line})


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_waits_for_others_is_ended_by_a_signal(
    signum: int, images: Path, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-m", "limbeck", "run", str(images), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        command,
        env={**os.environ, **address, "RANK": "0", "WORLD_SIZE": "2"},
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores Ctrl-C, and so does what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        assert process.stderr
        assert f"waiting for 1 of 2 processes at 127.0.0.1:{port}" in process.stderr.readline()
        process.send_signal(signum)
        assert process.wait(timeout=20) == 3


@pytest.mark.slow
def test_a_verb_that_trains_nothing_answers_once() -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [sys.executable, *launcher, "-m", "limbeck", "list", "losses"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.count("total_variation") == 1


@pytest.mark.nightly
def test_a_teacher_split_over_processes_answers_as_a_whole_one(texts: Path, tmp_path: Path) -> None:
    whole, split = tmp_path / "whole", tmp_path / "split"
    finish(start(texts, whole, 1, "teacher.epochs=0"))
    finish(start(texts, split, 2, "teacher.epochs=0", "teacher.placement=sharded"))
    answers = []
    for out in (whole, split):
        (folder,) = out.with_name(out.name + "-cache").glob("label-*")
        answers.append(np.load(folder / "logits.npy"))
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-5)


@pytest.mark.slow
def test_a_teacher_is_split_over_several_processes_alone(texts: Path, tmp_path: Path) -> None:
    process = start(texts, tmp_path / "out", 1, "teacher.epochs=0", "teacher.placement=sharded")
    assert "Start the run with torchrun --nproc_per_node 2" in finish(process, status=2)


WORKER = """
import torch
from torch import distributed, nn
from limbeck.models.sharding import shard_model

distributed.init_process_group("gloo")
torch.manual_seed(0)


class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64, 64) for _ in range(4)])
        self.head = nn.Linear(64, 2)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


model = Stack()
whole = sum(parameter.numel() for parameter in model.parameters())
shard_model(model, torch.device("cpu"))
held = sum(parameter.to_local().numel() for parameter in model.parameters())
assert held <= 0.51 * whole, (held, whole)
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_each_process_holds_half_of_a_model_split_over_two(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [sys.executable, *launcher, str(tmp_path / "worker.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
