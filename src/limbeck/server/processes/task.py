"""What the supervisor tells the processes that it starts. It imports little: the supervisor, which
stands beside every worker, is to take no memory to speak of."""

import sys
from pathlib import Path

from pydantic import BaseModel

from limbeck.server.settings import Settings

# In the server's folder: the workers' shared numbers, and the files of their meters.
BOARD = "board"
METERS = "meters"
# The exit status of a process that cannot do what it was told, and has said why; and where that is
# no fault of what it was told, but of the machine, such as a full disk.
MISTAKE = 2
BROKEN = 3


class Task(BaseModel):
    """What the supervisor tells a worker.

    folder: the server's own. row: the worker's of the board. socket: the listening one's file
    descriptor. parent: the supervisor.
    """

    settings: Settings
    folder: Path
    row: int
    socket: int
    parent: int


def working() -> list[str]:
    """The command of a worker, which reads its `Task` from standard input."""
    return [sys.executable, "-m", "limbeck.server.processes.worker"]


def verifying(folder: Path, own: Path, settings: Settings) -> list[str]:
    """The command that opens an artifact and prints its version (`verify`).

    folder: the artifact's. own: the server's.
    """
    command = [sys.executable, "-m", "limbeck.server.processes.verify"]
    command += [str(folder), str(own), str(settings.verify_seconds)]
    return command + ([settings.runtime] if settings.runtime else [])
