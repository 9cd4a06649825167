"""How much memory this process holds, and when freed memory goes back to the system."""

import ctypes
import functools
import os
import platform
import resource
from pathlib import Path

SPREAD = 1.5  # a release takes 30 ms, and one in twenty steps asks for it (docs/log.md)


@functools.cache
def glibc() -> ctypes.CDLL | None:
    """The C library of this process, where it is that one."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def keep_freed_memory() -> None:
    """Let glibc keep what a training step frees for the next step, instead of returning it and taking fresh, zeroed pages.

    A step of MiniLM is a tenth shorter. Nothing happens with another C library.
    """
    if library := glibc():
        mmap_max, trim_threshold = -4, -1  # M_MMAP_MAX and M_TRIM_THRESHOLD of malloc.h
        library.mallopt(mmap_max, 0)
        library.mallopt(trim_threshold, 2**31 - 1)


def release_freed_memory() -> None:
    """Give back what is freed and kept: batches of many shapes leave a heap full of holes. Nothing happens with another C library."""
    if library := glibc():
        library.malloc_trim(0)


class Heap:
    """Of a training: what its steps free is kept for the next ones, until batches of many lengths have left a heap of holes, where this process
    holds SPREAD times what it holds after a step in one without."""

    def __init__(self) -> None:
        self.whole_mb, self.is_whole = 0.0, True

    def tidy(self) -> None:
        """After a step."""
        held_mb = resident_mb()
        if self.is_whole:
            self.whole_mb = max(self.whole_mb, held_mb)
        self.is_whole = held_mb > SPREAD * self.whole_mb
        if self.is_whole:
            release_freed_memory()


def resident_mb() -> float:
    """Memory that this process holds now; its peak where the system does not tell."""
    path = Path("/proc/self/statm")
    if path.exists():
        return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return peak_mb()


def peak_mb() -> float:
    """The most memory that this process has held."""
    per_mb = (
        2**20 if platform.system() == "Darwin" else 2**10
    )  # ru_maxrss counts bytes there, and kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / per_mb
