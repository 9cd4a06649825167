"""Programs that answer for this process in processes of their own: what they take is counted with
what this one takes, which neither `time.process_time` nor the system's figures of memory do."""

import time
import weakref
from typing import Protocol

from limbeck.core.system import memory


class Program(Protocol):
    """A program that runs beside this process, and what it says that it has taken."""

    @property
    def cpu_seconds(self) -> float:
        """CPU time since it was started, of all its threads."""
        ...

    @property
    def peak_mb(self) -> float:
        """The most memory that it has held."""
        ...


# Weakly: who runs a program decides how long it lives.
_running: "weakref.WeakSet[Program]" = weakref.WeakSet()


def watch(program: Program) -> None:
    """Count what a program takes from now on, as long as it is held elsewhere."""
    _running.add(program)


def cpu_seconds() -> float:
    """CPU time of this process and of the programs that answer for it. Differences count: a program
    that has gone takes its share along."""
    return time.process_time() + sum(program.cpu_seconds for program in _running)


def peak_mb() -> float:
    """The most memory that this process has held, and each of the programs."""
    return memory.peak_mb() + _of_programs_mb()


def resident_mb() -> float:
    """The memory that this process holds, and the most that each of the programs has."""
    return memory.resident_mb() + _of_programs_mb()


def _of_programs_mb() -> float:
    return sum(program.peak_mb for program in _running)
