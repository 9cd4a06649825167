"""How long models take to write, and what memory: each in a process of its own, in turns.

Every one writes as many tokens after the same questions, with one thread. Figures are of CPU time,
which a busy machine leaves as it is, by the median of rounds.
"""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.artifact.speed.ratios import ratio, signs_of_noise
from limbeck.artifact.speed.rounds import Timed, timed
from limbeck.artifact.speed.workers import Subject, Worker, started
from limbeck.core.files import write_json

ROUNDS = 6
# Answers of a turn, and tokens of each: a teacher of 135 M weights writes them all in a minute.
ANSWERS = 2
TOKENS = 32
ARTIFACT_WORKER = "limbeck.artifact.speed.writing"
TORCH_WORKER = "limbeck.pipeline.speed.pytorch_writer"

Prompts = Sequence[Sequence[int]]


@dataclass(frozen=True)
class TimedWriter:
    """What is timed.

    - `spec`: what its process is told, beside the prompts: `artifact` and `runtime`, or `model` and
      `preprocess`.
    - `prompts`: as its own tokenizer has them.
    """

    name: str
    runtime: str
    spec: Mapping[str, Any]
    prompts: Prompts

    def subject(self, folder: Path, tokens: int) -> Subject:
        """The process, whose prompts are written into a folder."""
        file = folder / f"{self.name}.json"
        write_json(file, [list(prompt) for prompt in self.prompts])
        module = ARTIFACT_WORKER if "artifact" in self.spec else TORCH_WORKER
        spec = {**self.spec, "prompts": str(file), "tokens": tokens}
        return Subject(self.name, self.runtime, spec, module)


def measure_writing(writers: Sequence[TimedWriter], most_tokens: int) -> dict[str, Any]:
    """report.json's `written.speed`: `by_writer`, and what says that the machine was `busy`.

    Args:
        writers: the first is what the others are compared with.
        most_tokens: of an answer, as the models' contexts allow.

    Raises:
        WorkerDied: a process that measures ended, or failed.
    """
    tokens = min(TOKENS, most_tokens)
    replies: dict[str, list[dict[str, Any]]] = {writer.name: [] for writer in writers}
    memory: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="writing-") as name, ExitStack() as stack:
        folder = Path(name)
        workers: dict[str, Worker] = {}
        for writer in writers:
            subject = writer.subject(folder, tokens)
            workers[writer.name] = stack.enter_context(started(subject))
        order = list(workers)
        for number in range(ROUNDS):
            for each in order:
                prompts = turn_of(number, len(writers[0].prompts))
                replies[each].append(workers[each].ask({"write": prompts}))
            # None always writes after the same other.
            order.reverse()
        for each, worker in workers.items():
            memory[each] = round(worker.ask({"memory": True})["resident_mb"], 1)
    return {
        "tokens": tokens,
        "rounds": ROUNDS,
        **described(writers, replies, memory),
    }


def turn_of(number: int, count: int) -> list[int]:
    """The answers of a round, from and to; few come in several rounds.

    >>> turn_of(1, 100), turn_of(5, 3)
    ([2, 4], [1, 3])
    """
    num_answers = min(ANSWERS, count)
    start = number * num_answers % (count - num_answers + 1)
    return [start, start + num_answers]


def described(
    writers: Sequence[TimedWriter],
    replies: Mapping[str, list[dict[str, Any]]],
    memory: Mapping[str, float],
) -> dict[str, Any]:
    """The figures of each writer, and how they compare with the first."""
    first = {name: times(rounds, "first") for name, rounds in replies.items()}
    later = {name: times(rounds, "next") for name, rounds in replies.items()}
    reference = writers[0].name
    by_writer: dict[str, Any] = {}
    for writer in writers:
        name = writer.name
        faster = ratio(later[reference], later[name]).told()
        by_writer[name] = {
            "runtime": writer.runtime,
            "first_token_ms": round(first[name].ms, 3),
            "tokens_per_second": round(1000 / later[name].ms, 2),
            "speedup": faster["ratio"],
            "speedup_ci95": faster["ratio_ci95"],
            "resident_mb": memory[name],
        }
    return {"by_writer": by_writer, "busy": signs_of_noise(later)}


def times(rounds: Sequence[Mapping[str, Any]], what: str) -> Timed:
    """The times of the `first` token, or of a `next` one, by round."""
    walls = [reply[f"{what}_ms"] for reply in rounds]
    cpus = [float(np.mean(reply[f"{what}_cpu_ms"])) for reply in rounds]
    return timed(walls, cpus, threads=1)
