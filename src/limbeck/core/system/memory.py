"""How much memory this process holds and the machine has, and when freed memory goes back.

Figures are in MB of 2^20 bytes. Linux tells them in /proc, macOS by the module `resource`, and
Windows by its own library.
"""

import ctypes
import functools
import mmap
import os
import platform
import sys
from pathlib import Path

from limbeck.core.system import windows

MB = 2**20

# How much more than in a heap without holes a training may hold before freed memory is given back.
# A release takes 30 ms, and at 1.5 one step in twenty asks for it (docs/log.md).
SPREAD = 1.5

# The numbers of two settings of glibc's `mallopt`, from malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


def resident_mb() -> float:
    """What this process holds now; where the system does not tell, the most that it has held."""
    if sys.platform == "win32":
        return windows.process_memory(windows.kernel32()).WorkingSetSize / MB
    statm = Path("/proc/self/statm")
    if statm.exists():
        _, resident_pages, *_ = statm.read_text(encoding="ascii").split()
        return int(resident_pages) * mmap.PAGESIZE / MB
    return peak_mb()


def peak_mb() -> float:
    """The most that this process has held."""
    if sys.platform == "win32":
        return windows.process_memory(windows.kernel32()).PeakWorkingSetSize / MB
    status = Path("/proc/self/status")
    # Linux alone; `ru_maxrss` begins with what the process held that started this one.
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            name, _, amount = line.partition(":")
            if name == "VmHWM":
                return int(amount.removesuffix("kB")) / 2**10
    try:
        import resource
    except ImportError:  # a Python that was built without it
        return resident_mb()
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, others kilobytes.
    return largest / MB if platform.system() == "Darwin" else largest / 2**10


def total_mb() -> float:
    """What this machine has."""
    if sys.platform == "win32":
        return windows.machine_memory(windows.kernel32()).ullTotalPhys / MB
    return os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE / MB


def available_mb() -> float | None:
    """What a new process could take without swapping; None where the system does not tell."""
    if sys.platform == "win32":
        return windows.machine_memory(windows.kernel32()).ullAvailPhys / MB
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return None
    for line in meminfo.read_text(encoding="ascii").splitlines():
        name, _, amount = line.partition(":")
        if name == "MemAvailable":  # with what caches would give back; "MemFree" is without
            return int(amount.removesuffix("kB")) / 2**10
    return None


@functools.cache
def glibc() -> ctypes.CDLL | None:
    """The C library of this process where it is glibc; None with any other."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def keep_freed_memory() -> None:
    """Let glibc keep what a training step frees for the next one.

    Otherwise it returns large blocks to the system and takes fresh, zeroed pages in the next step:
    a step of MiniLM is a tenth shorter so. Nothing happens with another C library.
    """
    library = glibc()
    if library:
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)  # the largest int: never trim


def release_freed_memory() -> None:
    """Give what was freed and kept back to the system.

    Batches of many shapes leave a heap full of holes. Nothing happens with another C library.
    """
    library = glibc()
    if library:
        library.malloc_trim(0)


class Heap:
    """Decides when a training gives freed memory back, called after each step.

    What steps free is kept for the next ones (`keep_freed_memory`). Batches of many lengths leave
    holes in the heap, until the process holds SPREAD times what it holds after a step in a heap
    without holes: then freed memory is released.
    """

    def __init__(self) -> None:
        self.whole_mb = 0.0  # the most held after a step in a heap without holes
        self.is_whole = True

    def tidy(self) -> None:
        """Look at what is held, and release freed memory where it is too much."""
        held_mb = resident_mb()
        if self.is_whole:
            self.whole_mb = max(self.whole_mb, held_mb)
        self.is_whole = held_mb > SPREAD * self.whole_mb
        if self.is_whole:
            release_freed_memory()
