"""The process that runs llama.cpp, and what it is asked: see `worker.mjs`."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from limbeck.artifact.model_process import process as model_process
from limbeck.artifact.model_process.process import ModelProcess
from limbeck.core import files

WORKER = Path(__file__).with_name("worker.mjs")
VARIABLE = "LIMBECK_LLAMA_CPP"
VERSION = "3.22.1"
# The prebuilt library alone, of nine; its scripts would look for a compiler and the network.
INSTALL = (
    "npm install --ignore-scripts --omit=optional --prefix {folder} "
    "node-llama-cpp@{version} @node-llama-cpp/{platform}@{version}"
)


@dataclass(frozen=True)
class Settings:
    """How llama.cpp runs a model.

    `cache`: the type of keys and values, `F16` (its default) or `F32`. `flash`: fused attention,
    which adds values up in another order, and in fp16 where the cache is.
    """

    threads: int = 1
    context: int = 512
    batch: int = 512
    cache: str = "F16"
    flash: bool = False


def default_folder() -> Path:
    """Where npm's packages are looked for: LIMBECK_LLAMA_CPP, else in the user's cache."""
    # Not in limbeck's own cache, which may be emptied at any time.
    named = os.environ.get(VARIABLE)
    return Path(named) if named else Path.home() / ".cache" / "limbeck-llama"


def install_line(folder: Path) -> str:
    """The command that installs llama.cpp for this machine into a folder."""
    systems = {"posix": "linux", "nt": "win"}
    system = "mac" if os.uname().sysname == "Darwin" else systems[os.name]
    machine = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64"}.get(os.uname().machine)
    # npm's names of the prebuilt libraries, each a package of its own.
    platform = f"{system}-{machine or os.uname().machine}"
    if system == "mac" and machine == "arm64":
        platform += "-metal"
    return INSTALL.format(folder=folder, version=VERSION, platform=platform)


def missing(folder: Path) -> str | None:
    """What is missing to run llama.cpp from a folder, and the line that installs it; None where
    nothing is."""
    # Whether it loads is seen when it runs: here it is only looked for.
    if shutil.which("node") is None:
        return "node is not installed: Node.js 20 or newer, from https://nodejs.org"
    if not (folder / "node_modules" / "node-llama-cpp").is_dir():
        return f"llama.cpp is not in {folder}. {install_line(folder)}"
    return None


@contextlib.contextmanager
def run(path: Path, settings: Settings, folder: Path | None = None) -> Iterator[ModelProcess]:
    """llama.cpp with a GGUF file, until the `with` block ends.

    folder: where npm has installed node-llama-cpp. Raises ValueError where it is missing, and with
    llama.cpp's own words where it refuses the file.
    """
    folder = folder or default_folder()
    lacks = missing(folder)
    if lacks is not None:
        raise ValueError(lacks)
    files.require_file(path)
    # The worker reads them by these names.
    given = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
    command = [
        "node",
        str(WORKER),
        str(folder.resolve() / "node_modules"),
        str(path.resolve()),
        json.dumps(given),
    ]
    with model_process.run("llama.cpp", command) as model:
        yield model
