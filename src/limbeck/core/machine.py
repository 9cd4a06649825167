"""What this machine is, as far as results depend on it. Torch-free."""

import functools
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("limbeck", "torch", "transformers", "tokenizers", "onnxruntime", "openvino", "numpy")
FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimddp",
    "i8mm",
    "bf16",
)
EXACT = (
    "amx_int8",
    "avx512_vnni",
    "avx_vnni",
    "i8mm",
    "asimddp",
)  # of these, each adds products of integers in 32 bits


@functools.cache
def cpu() -> tuple[str, tuple[str, ...]]:
    """(model name, the features that change numerics or speed)."""
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    fields = {
        line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in text.splitlines()
    }
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return fields.get("model name") or platform.processor() or platform.machine(), tuple(
        name for name in FEATURES if name in flags
    )


def has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 natively."""
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(cpu()[1]))


def multiplies_exactly() -> bool:
    """Whether products of uint8 and int8 cannot saturate here."""
    return bool(set(EXACT) & set(cpu()[1]))


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
