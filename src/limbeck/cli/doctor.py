"""`limbeck doctor`: what this machine can do.

Told are what its CPU makes of int8 and bfloat16, memory, the cache and the room beside it,
versions, which extras are complete, and how fast int8 is (`speed_probe`). Nothing here needs torch.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

import typer

# Packages without which something does not run, or whose version can change a figure.
PACKAGES = ("torch", "transformers", "onnxruntime", "openvino", "tokenizers", "numpy")

# `numpy>=1 ; extra == 'train'`, as a package's metadata name what belongs to an extra.
PACKAGE = re.compile(r"[A-Za-z0-9._-]+")
EXTRA = re.compile(r"\bextra\s*==\s*['\"]([\w-]+)['\"]")
# The one other condition of ours: `uvloop; sys_platform != 'win32' and extra == 'serve'`.
ELSEWHERE = re.compile(r"\bsys_platform\s*!=\s*['\"]([\w-]+)['\"]")

# What works on limbeck itself; no recipe needs it.
OF_DEVELOPERS = ("dev",)

TITLE_WIDTH = 12  # of the column that says what a line is about
MB_PER_GB = 2**10
BYTES_PER_GB = 2**30


def doctor() -> None:
    """Say what this machine can do: CPU, memory, versions, cache, speed."""
    for line in lines():
        typer.echo(line)


def lines() -> Iterator[str]:
    """The lines of the answer, each as soon as it is known."""
    from limbeck.cli import speed_probe
    from limbeck.core.system import machine

    name, features = machine.cpu()
    yield titled("cpu", f"{name}, {machine.usable_cores()} of {os.cpu_count()} cores usable")
    yield titled("int8", int8_meaning(set(features)))
    yield titled("bfloat16", bfloat16_meaning())
    yield titled("memory", memory_line())
    yield from cache_lines()
    yield titled("python", machine.versions()["python"])
    for package in PACKAGES:
        yield titled(package, installed_version(package) or "not installed")
    yield titled("llama.cpp", llama_cpp_meaning())
    yield from extras()
    # Last, since it takes two seconds.
    yield titled("speed", speed_probe.sentence())


def titled(title: str, text: str) -> str:
    """A line of the answer."""
    return f"{title:{TITLE_WIDTH}} {text}"


def int8_meaning(features: set[str]) -> str:
    """What the CPU's instructions mean for an int8 artifact."""
    from limbeck.core.system import machine

    exact = [name for name in machine.EXACT if name in features]
    if exact:
        return f"{', '.join(exact)}: int8 products are exact, and several times as fast as float32"
    if features & {"avx2", "avx512f"}:
        return (
            "no VNNI: products of uint8 and int8 saturate at 16 bits, so that ONNX Runtime is told "
            "to take slower, exact kernels; weights of int7 (quantize.weights=int7) stay fast, "
            "and are exact in other runtimes too"
        )
    return "no integer dot product that this program knows: expect no speed from int8"


def bfloat16_meaning() -> str:
    """What `train.dtype: auto` chooses on this CPU."""
    from limbeck.core.system import machine

    if machine.has_bfloat16():
        return "native: `train.dtype: auto` trains text in bfloat16"
    return "not native: `train.dtype: auto` trains in float32"


def llama_cpp_meaning() -> str:
    """Whether GGUF files can be tried in llama.cpp itself, or how to install it."""
    from limbeck.artifact.llama_cpp import process

    folder = process.default_folder()
    return process.missing(folder) or f"{folder} (node-llama-cpp {process.VERSION})"


def memory_line() -> str:
    """How much memory there is, and how much of it is free where the system tells."""
    from limbeck.core.system import memory

    total_gb = memory.total_mb() / MB_PER_GB
    available_mb = memory.available_mb()
    if available_mb is None:
        return f"{total_gb:.1f} GB"
    return f"{total_gb:.1f} GB, {available_mb / MB_PER_GB:.1f} GB of it free"


def cache_lines() -> Iterator[str]:
    """The cache's folder, its size, and the room beside it."""
    from limbeck.core.cache.store import default_folder
    from limbeck.core.files import folder_bytes

    folder = default_folder()
    stages = []
    if folder.is_dir():
        # Beside the stages lies the folder of their locks.
        stages = [path for path in folder.iterdir() if path.is_dir() and path.name != "locks"]
    num_bytes = folder_bytes(folder)
    yield titled(
        "cache",
        f"{folder}: {len(stages)} stages, {num_bytes / BYTES_PER_GB:.2f} GB "
        "(LIMBECK_CACHE names another folder)",
    )
    # The cache may not be there yet: what is free is asked of the folder that it will be made in.
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_gb = shutil.disk_usage(existing).free / BYTES_PER_GB
    yield titled("disk", f"{free_gb:.1f} GB free there")


def installed_version(package: str) -> str | None:
    """The version of a package, or None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def extras_of(requirement: str) -> Iterator[tuple[str, str]]:
    """(package, extra) of a line of the package's metadata, where it counts on this system."""
    specifier, _, condition = requirement.partition(";")
    elsewhere = ELSEWHERE.search(condition)
    if elsewhere and elsewhere[1] == sys.platform:
        return
    package = PACKAGE.match(specifier)
    for extra in EXTRA.findall(condition):
        assert package  # every requirement begins with its package's name
        yield package[0], extra


def extras() -> Iterator[str]:
    """A line for each extra of ours: complete, or what is missing and how to install it."""
    try:
        requirements = requires("limbeck") or []
    except PackageNotFoundError:
        yield titled(
            "extras",
            "limbeck runs from its sources and is not installed: pip install -e '.[train]'",
        )
        return
    packages_of: dict[str, list[str]] = {}
    for requirement in requirements:
        for package, extra in extras_of(requirement):
            packages_of.setdefault(extra, []).append(package)
    for extra, packages in packages_of.items():
        if extra in OF_DEVELOPERS:
            continue
        missing = [package for package in packages if not installed_version(package)]
        if missing:
            state = f'without {", ".join(missing)}: pip install "limbeck[{extra}]"'
        else:
            state = "complete"
        yield titled("extra", f"{extra}: {state}")
