"""Processes that time: what they answer, what they say when they fail, and that none is left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limbeck.artifact.speed.inputs import read_inputs, write_inputs
from limbeck.artifact.speed.workers import Subject, Worker, WorkerDied, started

FAKE = '''
import os, sys, time
from limbeck.artifact.speed.worker import serve

def open_fake(subject, threads):
    """Answers as its `how` says; prints to standard output, as some libraries do."""
    print("a line that is no reply")
    if subject["how"] == "refused":
        raise KeyError("no such weights")
    state = {"answers": 0}
    def answer(given):
        state["answers"] += 1
        print("another line")
        if state["answers"] > 1 and subject["how"] == "killed":
            os.kill(os.getpid(), 9)
        if state["answers"] > 1 and subject["how"] == "slow":
            time.sleep(600)
        if state["answers"] > 1 and subject["how"] == "told":
            sys.stderr.write("Killed by the weather\\\\n"); sys.stderr.flush(); os._exit(3)
        time.sleep(0.002 / threads)
        return given
    return answer

if __name__ == "__main__":
    serve(open_fake)
'''


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A subject that behaves as it is told."""
    (tmp_path / "fake_subject.py").write_text(FAKE.replace("\\\\n", "\\n"))
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    inputs = tmp_path / "inputs.jsonl"
    write_inputs(["a", "b", "c"], inputs)

    def subject(how: str) -> Subject:
        spec = {"how": how, "inputs": str(inputs), "threads": 1}
        return Subject("the fake", "nothing", spec, module="fake_subject")

    return subject


def is_there(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_process_answers_in_turns_and_ends_with_the_block(fake: Any) -> None:
    with started(fake("well")) as worker:
        assert isinstance(worker, Worker)
        turn = worker.turn(0, 3, 20.0)
        assert len(turn.wall_ms) % 3 == 0 and sum(turn.wall_ms) >= 20.0
        assert np.median(turn.wall_ms) >= 2.0
        worker.use_threads(2)
        # What it waits for itself; a busy machine adds to it.
        assert np.min(worker.turn(0, 3, 20.0).wall_ms) >= 1.0
        # A fresh one, and not what this process held when it was started.
        assert 10 < worker.peak_mb() < 120
        assert 20 < worker.cold_start_ms < 60_000
        pid = worker.process.pid
    assert not is_there(pid)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("killed", "its process ended with status -9"),
        ("told", "its process ended with status 3: Killed by the weather"),
    ],
)
def test_a_process_that_dies_is_named(fake: Any, how: str, said: str) -> None:
    match = f"speed: the fake in nothing: {said}"
    with pytest.raises(WorkerDied, match=match), started(fake(how)) as worker:
        worker.turn(0, 3, 0.0)
    assert not is_there(worker.process.pid)


def test_what_cannot_be_opened_is_told_in_its_own_words(fake: Any) -> None:
    said = "speed: the fake in nothing: KeyError: 'no such weights'"
    with pytest.raises(WorkerDied, match=said), started(fake("refused")):
        raise AssertionError


def test_an_error_in_the_block_ends_the_process_at_once(fake: Any) -> None:
    pids = []

    def fail() -> None:
        with started(fake("well")) as worker:
            pids.append(worker.process.pid)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not is_there(pids[0])


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_one_that_asks(
    fake: Any, tmp_path: Path, signum: signal.Signals
) -> None:
    subject = fake("slow" if signum == signal.SIGINT else "well")
    script = textwrap.dedent(f"""
        from limbeck.artifact.speed.workers import Subject, started
        import signal, time
        # What a shell starts in the background ignores it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        subject = {subject!r}
        with started(subject) as worker:
            print(worker.process.pid, flush=True)
            worker.turn(0, 3, 0.0)
            time.sleep(600)
    """)
    asking = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert asking.stdout
    pid = int(asking.stdout.readline())
    assert is_there(pid)
    time.sleep(0.2)
    asking.send_signal(signum)
    asking.wait(20)
    asking.stdout.close()
    deadline = time.monotonic() + 20
    while is_there(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_there(pid)


def test_inputs_come_back_as_they_were(tmp_path: Path) -> None:
    inputs = [
        "a text\nof two lines",
        ("one", "and another"),
        {"text": "x", "text_b": "y"},
        bytes(range(256)),
        "\U0001f600 Grüße",
    ]
    path = tmp_path / "inputs.jsonl"
    write_inputs(inputs, path)
    assert read_inputs(path) == inputs
    write_inputs([Path("a.png")], path)
    assert read_inputs(path) == ["a.png"]
