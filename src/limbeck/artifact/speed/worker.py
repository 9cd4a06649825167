"""A process that answers rows with one subject, a turn at a time, and says how long each took.

`python -m limbeck.artifact.speed.worker`: its first line on standard input is the subject, one JSON
object; every later one is an order, each answered by one line:

| order | answer |
|---|---|
| `{"answer": [0, 16], "least_ms": 20}` | `wall_ms` of each answer, `cpu_ms` of them all together |
| `{"threads": 2}` | nothing: it answers with so many threads from now on |
| `{"memory": true}` | `peak_mb`, the most that the process has held |

What fails is answered with `error`. The process ends with its input, so that none is left behind by
a measurement that was killed.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from limbeck.artifact.load import load
from limbeck.artifact.predictor import Predictor
from limbeck.artifact.runtimes import open_graph
from limbeck.artifact.speed.inputs import read_inputs
from limbeck.core import registry
from limbeck.core.files import read_json
from limbeck.core.foreign import told_as
from limbeck.core.system import outside
from limbeck.evaluation.decisions.decision import Decision
from limbeck.tasks import Task

# From raw input to decoded answer.
Answer = Callable[[Any], Any]
# (subject, number of threads) -> what answers.
Open = Callable[[Mapping[str, Any], int], Answer]
# Answers before those that are timed in a turn: in the meantime others have had the caches.
UNTIMED = 2


def open_subject(subject: Mapping[str, Any], threads: int) -> Answer:
    """An `artifact`; or a `graph` by itself, with its `task` and the `decision` of an artifact."""
    runtime = subject["runtime"]
    if "artifact" in subject:
        return load(subject["artifact"], runtime=runtime, threads=threads).predict
    graph = Path(subject["graph"])
    opened = open_graph(graph, runtime, threads)
    task = task_of(subject)
    decision = decision_of(subject, task)
    return Predictor(task, opened, runtime, graph.parent, decision).predict


def decision_of(subject: Mapping[str, Any], task: Task) -> Decision | None:
    """How a subject that is no artifact decides: as the artifact that it is timed beside, whose
    costs, sets or promise take their time, too."""
    file = subject.get("decision")
    return Decision.of(read_json(Path(file)), task) if file else None


def task_of(subject: Mapping[str, Any]) -> Task:
    """The task of a subject that is no artifact."""
    task_class = registry.load("tasks", subject["task"])
    task: Task = task_class(subject["labels"], subject["preprocess"])
    return task


class Timing:
    """One subject, open, and its inputs: what carries out the orders."""

    def __init__(self, subject: Mapping[str, Any], open_answer: Open) -> None:
        self.subject = subject
        self.open_answer = open_answer
        self.inputs = read_inputs(Path(subject["inputs"]))
        self.answer = open_answer(subject, subject["threads"])
        # The first answer allocates memory and fills caches: it belongs to the start.
        self.answer(self.inputs[0])

    def carry_out(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Do what an order says (see the module)."""
        if "answer" in order:
            inputs = self.inputs[slice(*order["answer"])]
            return turn(self.answer, inputs, order["least_ms"])
        if "memory" in order:
            return {"peak_mb": outside.peak_mb()}
        # A runtime takes its threads when it is opened.
        self.answer = self.open_answer(self.subject, order["threads"])
        self.answer(self.inputs[0])
        return {}


def turn(answer: Answer, inputs: Sequence[Any], least_ms: float) -> dict[str, Any]:
    """Answer all inputs one by one, again and again until `least_ms` are over: `wall_ms` of each
    answer, and `cpu_ms` of them all."""
    for given in inputs[:UNTIMED]:
        answer(given)
    wall_ms: list[float] = []
    # Of all threads of the process, and of a program that answers for it.
    cpu_began = outside.cpu_seconds()
    while not wall_ms or sum(wall_ms) < least_ms:
        for given in inputs:
            began = time.perf_counter()
            answer(given)
            wall_ms.append(1000 * (time.perf_counter() - began))
    return {"wall_ms": wall_ms, "cpu_ms": 1000 * (outside.cpu_seconds() - cpu_began)}


def serve(open_answer: Open) -> None:
    """Open the subject of the first line, then carry out the orders of the others."""
    replies = own_output()
    try:
        # Models, tokenizers and runtimes are of many authors, and raise whatever they like.
        with told_as(ValueError):
            timing = Timing(json.loads(sys.stdin.readline()), open_answer)
            reply(replies, {})
            for line in sys.stdin:
                reply(replies, timing.carry_out(json.loads(line)))
    except (ValueError, OSError, ImportError) as error:
        reply(replies, {"error": str(error)})
        sys.exit(1)


def own_output() -> TextIO:
    """Standard output for the replies alone: what a library prints goes to standard error."""
    # Of the file itself: a library in C does not write through `sys.stdout`.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return replies


def reply(replies: TextIO, content: Mapping[str, Any]) -> None:
    """Write one line, at once."""
    replies.write(json.dumps(content) + "\n")
    replies.flush()


if __name__ == "__main__":
    serve(open_subject)
