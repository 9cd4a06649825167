"""Which of several processes this one is, as `torchrun` says it in environment variables.

They are checked here before `accelerate` reads them, which would wait half an hour for processes
that nobody started. Nothing here needs torch: commands that train nothing ask too.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

# The number of this process, from 0, and how many there are; over all machines.
RANK = "RANK"
WORLD_SIZE = "WORLD_SIZE"
# The number of this process on its own machine.
LOCAL_RANK = "LOCAL_RANK"
LOCAL_WORLD_SIZE = "LOCAL_WORLD_SIZE"
# Where the processes meet.
HOST = "MASTER_ADDR"
PORT = "MASTER_PORT"

NUMBERING = (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE)
LARGEST_PORT = 2**16 - 1


@dataclass(frozen=True)
class Launch:
    """This process among those of its run.

    index: its number, from 0.
    num_processes: how many there are.
    host, port: where they meet; empty where there is one process.
    """

    index: int = 0
    num_processes: int = 1
    host: str = ""
    port: int = 0

    @property
    def address(self) -> str:
        """Where the processes meet, for a message."""
        return f"{self.host}:{self.port}"


def read() -> Launch:
    """What the environment says.

    Raises:
        ValueError: a variable is missing beside another one, or is no number that fits; with the
            variable and the cure.
    """
    # 1. Numbers, each by itself.
    num_processes = _number(WORLD_SIZE)
    index = _number(RANK)
    _number(LOCAL_RANK)
    # 2. How many processes, and which of them.
    if num_processes is None and index is None:
        return Launch()
    if num_processes is None:
        raise _refused(f"{RANK}={index} is set, and {WORLD_SIZE} is not")
    if num_processes < 1:
        raise _refused(f"{WORLD_SIZE}={num_processes}: a run has at least one process")
    if num_processes > 1 and index is None:
        raise _refused(f"{WORLD_SIZE}={num_processes} is set, and {RANK} is not")
    index = index or 0
    if index not in range(num_processes):
        raise _refused(
            f"{RANK}={index} with {WORLD_SIZE}={num_processes}: processes are numbered from 0 to "
            f"{num_processes - 1}"
        )
    if num_processes == 1:
        return Launch()
    # 3. Where they meet.
    for name in (HOST, PORT):
        if not os.environ.get(name):
            raise _refused(f"{WORLD_SIZE}={num_processes} is set, and {name} is not")
    port = _number(PORT)
    if port is None or port not in range(1, LARGEST_PORT + 1):
        raise _refused(f"{PORT}={port}: a port is a number from 1 to {LARGEST_PORT}")
    return Launch(index, num_processes, os.environ[HOST], port)


def _number(name: str) -> int | None:
    """A variable's number; None where it is not set, or empty."""
    text = os.environ.get(name)
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise _refused(f"{name}={text}: a whole number was expected") from None


def _refused(problem: str) -> ValueError:
    """The error for variables that do not fit, with the cure."""
    return ValueError(f"environment variables: {problem}. {cure()}")


def cure() -> str:
    """How to start several processes, and how to start one."""
    names = (*NUMBERING, HOST, PORT)
    present = [name for name in names if name in os.environ]
    return (
        "To run in two processes, `torchrun --nproc_per_node 2 -m limbeck run RECIPE` starts them "
        f"and sets all of these variables. To run in one: `unset {' '.join(present)}`"
    )


def process_index() -> int:
    """The number of this process, from 0; 0 too where the variables do not fit (see `read`)."""
    try:
        return read().index
    except ValueError:
        # The one who trains is told; for all others such variables mean nothing.
        return 0


def is_one_of_several() -> bool:
    """Whether other processes train with this one; not where the variables do not fit."""
    try:
        return read().num_processes > 1
    except ValueError:
        return False


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Inside, no variable says that there are several processes."""
    before = {name: os.environ.pop(name) for name in NUMBERING if name in os.environ}
    try:
        yield
    finally:
        for name in NUMBERING:
            os.environ.pop(name, None)
        os.environ.update(before)
