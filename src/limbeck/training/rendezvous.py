"""All processes of a run meet before `accelerate` makes their group.

torch waits for a missing process inside C++, for half an hour, without a word and deaf to signals.
Here each process notes its arrival in a `TCPStore` and looks whether the others have done so, a
fraction of a second at a time: Ctrl-C and SIGTERM act between two looks.
"""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from torch import distributed

from limbeck.core.events import Note, Reporter
from limbeck.core.system import launch
from limbeck.core.system.launch import Launch

# Processes that `torchrun` starts arrive within seconds of one another; on several machines the
# last one may have to read its programs from a slow disk.
GIVE_UP_SECONDS = 180.0
# What passes before a wait is told: importing torch takes one process longer than another.
SILENT_SECONDS = 4.0
LOOKS_PER_SECOND = 5
# Of a store that is there already.
CONNECTION = timedelta(seconds=10)
# Set where `torchrun` itself serves the store, and no process of the run does.
AGENT = "TORCHELASTIC_USE_AGENT_STORE"


@dataclass
class Patience:
    """A wait for the other processes: told once, and given up in the end."""

    own: Launch
    tell: Reporter
    give_up_seconds: float
    began: float = field(default_factory=time.monotonic)
    is_told: bool = False

    def look_again(self, missing: str) -> None:
        """Sleep until the next look; `missing`: for whom this process waits.

        Raises:
            ValueError: they did not come in time.
        """
        waited = time.monotonic() - self.began
        if waited > self.give_up_seconds:
            raise ValueError(
                f"waited {waited:.0f} s in vain for {missing} at {self.own.address}: "
                f"{launch.WORLD_SIZE} is {self.own.num_processes}. "
                f"{launch.cure()}"
            )
        if not self.is_told and waited > min(SILENT_SECONDS, self.give_up_seconds / 2):
            self.is_told = True
            self.tell(
                Note(
                    f"waiting for {missing} at {self.own.address}, "
                    f"{self.give_up_seconds:.0f} s at most ..."
                )
            )
        time.sleep(1 / LOOKS_PER_SECOND)


def meet(own: Launch, tell: Reporter, *, give_up_seconds: float = GIVE_UP_SECONDS) -> Any:
    """Wait until all processes are here.

    Args:
        own: which process this is, of several.
        tell: hears for whom it waits, where that takes long.
        give_up_seconds: how long to wait.

    Returns:
        The `TCPStore` where they met. Process 0 serves it: keep it until the processes have their
        group.

    Raises:
        ValueError: they did not all come, two have one number, or no machine has that name; with
            the cure.
    """
    _check_host(own)
    patience = Patience(own, tell, give_up_seconds)
    store = _open(own, patience)
    try:
        _note_arrival(store, own)
        _wait_for_others(store, own, patience.look_again)
    except RuntimeError as error:
        # What torch raises where the store is gone.
        raise ValueError(f"process 0, at {own.address}, has ended before all had come") from error
    return store


def _open(own: Launch, patience: Patience) -> Any:
    """The store: served by process 0, unless `torchrun` serves it; the others connect to it."""
    is_server = own.index == 0 and os.environ.get(AGENT) != "True"
    # First by a socket of our own, since torch would wait inside C++.
    while not is_server and not _is_reachable(own):
        patience.look_again(f"process 0 of {own.num_processes} processes")
    # torch does not list it among its names, though it documents it.
    store_class: Any = vars(distributed)["TCPStore"]
    try:
        return store_class(
            own.host,
            own.port,
            is_master=is_server,
            timeout=CONNECTION,
            wait_for_workers=False,
            # The group that is made afterwards finds this very server.
            multi_tenant=True,
        )
    except RuntimeError as error:
        if not is_server:
            raise ValueError(
                f"{own.address}: something answers there that is no process of a run. Say another "
                f"{launch.HOST} or {launch.PORT}. {launch.cure()}"
            ) from error
        raise ValueError(
            f"{own.address}: process 0 cannot listen there; another program does, or another "
            f"process with {launch.RANK}=0. Say another {launch.HOST} or {launch.PORT}. "
            f"{launch.cure()}"
        ) from error


def _check_host(own: Launch) -> None:
    """Raise ValueError where no machine has the name: torch would ask for it over and over."""
    try:
        socket.getaddrinfo(own.host, own.port)
    except OSError as error:
        raise ValueError(
            f"{launch.HOST}={own.host}: no machine of that name is known here ({error.strerror}). "
            f"Say the name or the number of the machine of process 0. {launch.cure()}"
        ) from error


def _is_reachable(own: Launch) -> bool:
    """Whether something answers where the processes meet."""
    try:
        socket.create_connection((own.host, own.port), timeout=1).close()
    except OSError:
        return False
    return True


def _note_arrival(store: Any, own: Launch) -> None:
    """Say that this process is here. Raises ValueError where one of its number is here already."""
    arrivals = store.add(_key(own.index), 1)
    # A store of `torchrun` may outlive a process that it started again.
    if arrivals > 1 and os.environ.get(AGENT) != "True":
        raise ValueError(
            f"two processes say {launch.RANK}={own.index}. Each needs a number of its own, from 0 "
            f"to {own.num_processes - 1}. {launch.cure()}"
        )


def _wait_for_others(store: Any, own: Launch, look_again: Callable[[str], None]) -> None:
    """Go on once every number has arrived."""
    keys = [_key(index) for index in range(own.num_processes)]
    while not store.check(keys):
        missing = sum(not store.check([key]) for key in keys)
        look_again(f"{missing} of {own.num_processes} processes")


def _key(index: int) -> str:
    return f"limbeck/arrived/{index}"
