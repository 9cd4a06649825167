"""What only the process that asks has in memory, such as a user's own module."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.artifact.speed.worker import Answer, turn
from limbeck.artifact.speed.workers import Turn


@dataclass(frozen=True)
class InProcess:
    """Answers in this process when it is its turn. set_threads: of what answers."""

    answer: Answer
    inputs: Sequence[Any]
    set_threads: Callable[[int], None]

    def turn(self, start: int, stop: int, least_ms: float) -> Turn:
        """Answer the rows from `start` to `stop`, for `least_ms` at least."""
        # Of a list, not of a file: the rows are in memory already.
        took = turn(self.answer, self.inputs[start:stop], least_ms)
        return Turn(took["wall_ms"], took["cpu_ms"] / len(took["wall_ms"]))

    def use_threads(self, threads: int) -> None:
        """Answer with so many threads from now on."""
        self.set_threads(threads)
