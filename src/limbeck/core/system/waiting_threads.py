"""How long a thread of a computation spins before it sleeps, while it waits for the others.

PyTorch's OpenMP (libgomp) lets it spin for milliseconds. Where another program has the core that is
waited for, all of them pass so, and a step takes many times as long
(`benchmarks/waiting_threads.py`).
"""

import os
from collections.abc import Mapping

# libgomp reads it once, when torch is imported.
VARIABLE = "GOMP_SPINCOUNT"
# A fraction of a millisecond: nearly every wait of a machine with idle cores ends before.
SPINS = "10000"
# Who sets one of these has decided.
DECIDING = (VARIABLE, "OMP_WAIT_POLICY")


def spin_briefly() -> None:
    """Let threads of this process and of those that it starts sleep soon.

    To be called before torch is imported.
    """
    if not any(name in os.environ for name in DECIDING):
        os.environ[VARIABLE] = SPINS


def environment_of_others() -> Mapping[str, str]:
    """The environment without what `spin_briefly` set: what is timed is timed as others run it."""
    if os.environ.get(VARIABLE) != SPINS:
        return os.environ
    return {name: value for name, value in os.environ.items() if name != VARIABLE}
