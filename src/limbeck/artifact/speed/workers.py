"""Processes that answer in turns: started afresh, asked one at a time, and ended with the block.

What is timed beside PyTorch in one process takes up to half as long again (3.88 against 2.57 ms for
one artifact), so each subject has a process of its own, and only one of them works at a time.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

from limbeck.core.system import waiting_threads

# After its input is closed, a process that does not end by itself is killed.
FAREWELL_SECONDS = 5.0
GROUND_FLOOR = "limbeck.artifact.speed.worker"


class WorkerDied(ValueError):
    """A process that measures ended, or failed: which subject, and what it said."""


@dataclass(frozen=True)
class Subject:
    """What is timed.

    what: in words, for an error and for a reader.
    runtime: what runs it.
    spec: what the process is told (`worker`), plain data.
    module: what the process runs.
    """

    what: str
    runtime: str
    spec: Mapping[str, Any]
    module: str = GROUND_FLOOR


@dataclass(frozen=True)
class Turn:
    """The milliseconds of each answer of a turn, and of CPU time of one answer on average."""

    wall_ms: list[float]
    cpu_ms: float


class Answerer(Protocol):
    """A subject that is open: a process, or what only the process that asks has in memory."""

    def turn(self, start: int, stop: int, least_ms: float) -> Turn:
        """Answer the rows from `start` to `stop`, for `least_ms` at least."""

    def use_threads(self, threads: int) -> None:
        """Answer with so many threads from now on."""


@dataclass
class Worker:
    """One such process. cold_start_ms: from its start to its first answer."""

    subject: Subject
    process: subprocess.Popen[str]
    errors: IO[str]
    cold_start_ms: float = field(default=0.0, init=False)

    def turn(self, start: int, stop: int, least_ms: float) -> Turn:
        """Answer the rows from `start` to `stop`, for `least_ms` at least. Raises WorkerDied."""
        reply = self.ask({"answer": [start, stop], "least_ms": least_ms})
        wall_ms: list[float] = reply["wall_ms"]
        return Turn(wall_ms, reply["cpu_ms"] / len(wall_ms))

    def use_threads(self, threads: int) -> None:
        """Answer with so many threads from now on. Raises WorkerDied."""
        self.ask({"threads": threads})

    def peak_mb(self) -> float:
        """The most memory that it has held. Raises WorkerDied."""
        return float(self.ask({"memory": True})["peak_mb"])

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """What the process replies to an order. Raises WorkerDied."""
        assert self.process.stdin and self.process.stdout
        # A process that is gone cannot be written to; what it left to read says more.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        # Half a line is what a kill leaves.
        reply: dict[str, Any] = json.loads(line) if line.endswith("\n") else {}
        if not line.endswith("\n") or "error" in reply:
            raise self.died(reply.get("error"))
        return reply

    def died(self, reason: str | None) -> WorkerDied:
        """The error of a process that failed by `reason`; None where it ended without a word."""
        if reason is None:
            status = self.process.wait(FAREWELL_SECONDS)
            # The last line of a traceback says what it was.
            self.errors.seek(0)
            lines = self.errors.read().strip().splitlines()
            reason = f"its process ended with status {status}" + (f": {lines[-1]}" if lines else "")
        return WorkerDied(f"speed: {self.subject.what} in {self.subject.runtime}: {reason}")

    def end(self) -> None:
        """End the process, whatever it does."""
        assert self.process.stdin and self.process.stdout
        # It ends by itself once there are no more orders.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


@contextlib.contextmanager
def started(subject: Subject) -> Iterator[Worker]:
    """The process of a subject, which has answered once; it ends with the block.

    Raises WorkerDied where it does not come so far.
    """
    # This very Python, whatever `python` is on the path.
    command = [sys.executable, "-m", subject.module]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A pipe that nobody reads would fill, and stop the process.
            stderr=errors,
            text=True,
            encoding="utf-8",
            env=waiting_threads.environment_of_others(),
            # Ctrl-C is for the process that asks, which ends this one.
            start_new_session=True,
        )
        worker = Worker(subject, process, errors)
        is_done = False
        try:
            # Opened, and the first answer given.
            worker.ask(subject.spec)
            worker.cold_start_ms = 1000 * (time.perf_counter() - began)
            yield worker
            is_done = True
        finally:
            # After an error or Ctrl-C it may be in a turn that nobody waits for any more.
            if not is_done:
                process.kill()
            worker.end()
