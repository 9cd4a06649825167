"""What this machine is, as far as results depend on it. Torch-free."""

import ctypes
import functools
import os
import platform
import resource
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("limbeck", "torch", "transformers", "tokenizers", "onnxruntime", "openvino", "numpy")
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimddp", "i8mm", "bf16")
EXACT = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")  # of these, each adds products of integers in 32 bits
SPREAD = 1.5  # a release takes 30 ms, and one in twenty steps asks for it (docs/log.md)


@functools.cache
def cpu() -> tuple[str, tuple[str, ...]]:
    """(model name, the features that change numerics or speed)."""
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    fields = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in text.splitlines()}
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return fields.get("model name") or platform.processor() or platform.machine(), tuple(name for name in FEATURES if name in flags)


def has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 natively."""
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(cpu()[1]))


def multiplies_exactly() -> bool:
    """Whether products of uint8 and int8 cannot saturate here."""
    return bool(set(EXACT) & set(cpu()[1]))


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
    per_mb = 2**20 if platform.system() == "Darwin" else 2**10  # ru_maxrss counts bytes there, and kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / per_mb


def versions() -> dict[str, str]:
    """Installed versions of what figures depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe() -> dict[str, Any]:
    """The machine for report.json."""
    name, features = cpu()
    memory_gb = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return {
        "cpu": name,
        "features": " ".join(features),
        "cores": os.cpu_count(),
        "memory_gb": memory_gb,
        "system": platform.platform(terse=True),
    }
