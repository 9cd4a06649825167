"""What this machine is, as far as results and speed depend on it."""

import functools
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from limbeck.core.system import memory

# Packages whose version can change a figure.
PACKAGES = (
    "limbeck",
    "torch",
    "transformers",
    "tokenizers",
    "onnxruntime",
    "openvino",
    "numpy",
    "pillow",
)

# Of these the ones that a result hangs on before it is exported: they compute a model's floats,
# draw random numbers, part texts into tokens and resize images.
COMPUTING = ("torch", "transformers", "tokenizers", "numpy", "pillow")

# Environment variables by which the libraries below torch choose their instructions, their order of
# sums or their number format, and so the last bits of a result.
VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "KMP_DETERMINISTIC_REDUCTION",
    "MKL_CBWR",
    "MKL_DYNAMIC",
    "MKL_ENABLE_INSTRUCTIONS",
    "NPY_DISABLE_CPU_FEATURES",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_DYNAMIC",
    "OMP_THREAD_LIMIT",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)

# Flags of /proc/cpuinfo that change numerics or speed.
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

# Each of these adds products of 8-bit integers in 32 bits. CPUs without them add two products in
# 16 bits, which can saturate.
EXACT = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")

# Each of these multiplies bfloat16.
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")


@functools.cache
def cpu() -> tuple[str, tuple[str, ...]]:
    """(the CPU's name, those of FEATURES that it has); no feature where the system has no /proc."""
    fields = _cpu_fields()
    name = fields.get("model name") or platform.processor() or platform.machine()
    # x86 says `flags`, ARM says `Features`.
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return name, tuple(feature for feature in FEATURES if feature in flags)


def _cpu_fields() -> dict[str, str]:
    """The lines `name : value` of /proc/cpuinfo; the last core's, where cores differ."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    fields = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    return fields


def usable_cores() -> int:
    """How many cores this process may use; a container may allow fewer than there are."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def note_of_threads(threads: int) -> str | None:
    """What to tell of more threads than cores; None where there are as many cores."""
    cores = usable_cores()
    if threads <= cores:
        return None
    return (
        f"train.threads: {threads} threads share the {cores} cores that this process may use, and "
        f"wait for one another. Say `train.threads: {cores}`"
    )


def has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 natively."""
    return any(feature in BFLOAT16 for feature in cpu()[1])


def multiplies_exactly() -> bool:
    """Whether sums of products of uint8 and int8 cannot saturate on this CPU."""
    return any(feature in EXACT for feature in cpu()[1])


def versions() -> dict[str, str]:
    """Python's version and those of PACKAGES that are installed."""
    return dict(_installed_versions())


@functools.cache
def _installed_versions() -> dict[str, str]:
    """What `versions` copies: every stage's key asks, and the metadata take 20 ms to read."""
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed


def numerics() -> dict[str, Any]:
    """What two machines must share to compute the same bits, as far as no torch is needed to say.

    Of the CPU its features: two with the same ones are taken to compute alike.
    """
    name, features = cpu()
    installed = versions()
    return {
        "system": [sys.platform, platform.machine()],
        # Where the system does not tell the features, the name stands for them.
        "cpu": list(features) or name,
        "versions": {package: installed.get(package) for package in COMPUTING},
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def describe() -> dict[str, Any]:
    """The machine as report.json shows it."""
    name, features = cpu()
    return {
        "cpu": name,
        "features": " ".join(features),
        "cores": os.cpu_count(),
        "memory_gb": round(memory.total_mb() / 2**10, 1),
        "system": platform.platform(terse=True),
    }
