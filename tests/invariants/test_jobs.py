"""Arms and seeds side by side: the same report, nothing computed twice, and an orderly end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import limbeck
from limbeck.core.cache.store import Store
from limbeck.pipeline import jobs
from limbeck.pipeline.preflight import compatibility

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
teacher: {model: small_cnn, width: 6, epochs: 1}
student: {model: small_cnn, width: 4}
train: {epochs: EPOCHS, learning_rate: 4.0e-3, threads: 1, batch_rows: 128}
distill: {}
quantize: {range: minmax}
verdict: {arms: [plain, kd, kd+ptq, joint], seeds: 2, max_drop: 1, latency_rows: 2}
"""


def recipe(epochs: int = 1, **changes: Any) -> Any:
    read = limbeck.parse(RECIPE.replace("EPOCHS", str(epochs)))
    verdict = read.verdict.model_copy(update=changes)
    return compatibility.resolved(read.model_copy(update={"verdict": verdict}))


def test_arms_that_share_a_training_go_to_one_process() -> None:
    found = [(task.seed, task.arms) for task in jobs.tasks_of(recipe())]
    assert found == [
        (0, ["plain"]),
        (0, ["kd", "kd+ptq"]),
        (0, ["joint"]),
        (1, ["plain"]),
        (1, ["kd", "kd+ptq"]),
        (1, ["joint"]),
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("untimed")
def test_several_processes_report_what_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = limbeck.run(recipe(), tmp_path / "alone")
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "other"))
    told: list[str] = []
    together = limbeck.run(
        recipe(jobs=3), tmp_path / "together", tell=lambda event: told.append(str(event))
    )
    for name, arm in alone["arms"].items():
        assert together["arms"][name]["seeds"] == arm["seeds"], name
    for file in (tmp_path / "alone" / "artifact").iterdir():
        # The card tells milliseconds, which no two runs share.
        if file.name != "README.md":
            other = tmp_path / "together" / "artifact" / file.name
            assert other.read_bytes() == file.read_bytes()
    # Every stage of an arm was made by a process and found by the run.
    made = [record["name"] for record in together["stages"] if not record["reused"]]
    assert not [name for name in made if name.startswith(("train", "export"))]
    assert sum("jobs: " in event for event in told) == 6


def test_rows_from_python_stay_in_their_process(tmp_path: Path) -> None:
    rows = [{"text": f"{word} {n}", "label": word} for word in ("a", "b") for n in range(20)]
    asked = RECIPE.replace("image-classification", "text-classification")
    asked = asked.replace("{source: sklearn, dataset: digits}", "{source: rows}")
    read = limbeck.parse(asked.replace("EPOCHS", "1").replace("seeds: 2", "seeds: 2, jobs: 2"))
    context = jobs.RunContext(read, Store(), rows={"train": rows})
    with pytest.raises(ValueError, match="rows from Python are in this process alone"):
        jobs.require_sharing(context)


def test_torchrun_starts_the_processes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    for name, value in {**variables, "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    jobs.require_sharing(jobs.RunContext(recipe(), Store()))
    with pytest.raises(ValueError, match="`torchrun` has started the processes of this run"):
        jobs.require_sharing(jobs.RunContext(recipe(jobs=2), Store()))


def test_what_a_process_is_refused_is_told_once() -> None:
    (task, *_) = jobs.tasks_of(recipe())
    broken = jobs.Task(task.text.replace("small_cnn", "smal_cnn"), "recipe", 0, ["plain"])
    with pytest.raises(ValueError, match="smal_cnn"):
        jobs.ask(broken, jobs.Workers())


@pytest.mark.slow
@pytest.mark.parametrize(
    "signum", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)]
)
def test_processes_end_with_their_run(tmp_path: Path, signum: int) -> None:
    """Asked to stop, or killed: none of the others goes on, and the same command finishes."""
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("EPOCHS", "400"))
    command = [sys.executable, "-m", "limbeck", "run", str(path), "--jobs", "2", "--out"]
    run = subprocess.Popen([*command, str(tmp_path / "run")], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(workers_of_jobs()) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(workers_of_jobs()) >= 2
    time.sleep(8)  # for torch to be there
    run.send_signal(signum)
    _, errors = run.communicate(timeout=90)
    assert run.returncode in (3, -signal.SIGKILL), errors
    while workers_of_jobs() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert workers_of_jobs() == []


def workers_of_jobs() -> list[int]:
    """The processes of `limbeck.pipeline.jobs` on this machine with this test's cache."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            line = (folder / "cmdline").read_bytes()
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        own = f"LIMBECK_CACHE={os.environ['LIMBECK_CACHE']}".encode()
        if b"limbeck.pipeline.jobs" in line and own in environment:
            found.append(int(folder.name))
    return found
