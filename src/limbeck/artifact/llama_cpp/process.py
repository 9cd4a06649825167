"""The process that runs llama.cpp, and what it is asked: see `worker.mjs`."""

import contextlib
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.core import files

WORKER = Path(__file__).with_name("worker.mjs")
VARIABLE = "LIMBECK_LLAMA_CPP"
VERSION = "3.22.1"
# The prebuilt library alone, of nine; its scripts would look for a compiler and the network.
INSTALL = (
    "npm install --ignore-scripts --omit=optional --prefix {folder} "
    "node-llama-cpp@{version} @node-llama-cpp/{platform}@{version}"
)
# For an answer: a large model reads a context of 8,192 tokens in minutes.
SECONDS = 1800.0
MOST_TOLD = 2000  # characters of what it complained


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


class LlamaCpp:
    """A model in llama.cpp. One question at a time."""

    def __init__(self, process: "subprocess.Popen[str]", complaints: Path) -> None:
        self.process = process
        self.complaints = complaints
        self.answers: queue.Queue[str] = queue.Queue()
        # A thread of its own, so that an answer that never comes can be given up.
        threading.Thread(target=self._listen, daemon=True).start()
        # The first line comes once the model is loaded: version and settings.
        self.told = self._answer()

    def _listen(self) -> None:
        """Take lines from the process, until it ends: an empty one says so."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")

    def _answer(self) -> dict[str, Any]:
        """The next answer. Raises ValueError for what llama.cpp refuses, and where it ends."""
        try:
            line = self.answers.get(timeout=SECONDS)
        except queue.Empty:
            raise ValueError(f"llama.cpp has not answered for {SECONDS:.0f} s") from None
        # It has ended: what it wrote to stderr says why, such as a tensor that is missing.
        if not line:
            text = self.complaints.read_text(encoding="utf-8", errors="replace").strip()
            raise ValueError(f"llama.cpp has ended: {text[-MOST_TOLD:] or 'without a word'}")
        found = json.loads(line)
        if "error" in found:
            raise ValueError(f"llama.cpp: {found['error']}")
        return found

    def ask(self, verb: str, **given: Any) -> dict[str, Any]:
        """The answer to one question."""
        assert self.process.stdin is not None
        # A process that has ended is told of by `_answer`.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps({"verb": verb} | given) + "\n")
            self.process.stdin.flush()
        return self._answer()

    def score(self, tokens: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Of each token but the first, its log-probability in nats after those before it, and
        which token is likeliest there: (T - 1) float64, (T - 1) int64."""
        found = self.ask("score", tokens=list(tokens))
        return np.array(found["log_probabilities"]), np.array(found["greedy"], np.int64)

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        """All logits (T, V) after each token; for small vocabularies."""
        return np.array(self.ask("logits", tokens=list(tokens))["logits"], np.float32)

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """The tokens of a text. `special`: special tokens are read as such in it."""
        return self.ask("tokenize", text=text, special=special)["tokens"]

    def generate(self, tokens: Sequence[int], most: int) -> dict[str, Any]:
        """`tokens` that greedy decoding says after a prompt, `read_ms`, `say_ms`."""
        return self.ask("generate", tokens=list(tokens), most=most)


@contextlib.contextmanager
def run(path: Path, settings: Settings, folder: Path | None = None) -> Iterator[LlamaCpp]:
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
    with tempfile.TemporaryDirectory() as scratch:
        # A file, since a pipe that nobody reads would fill up and stop the process.
        complaints = Path(scratch) / "stderr"
        with open(complaints, "wb") as stderr:
            process = subprocess.Popen(
                [
                    "node",
                    str(WORKER),
                    str(folder.resolve() / "node_modules"),
                    str(path.resolve()),
                    json.dumps(given),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                encoding="utf-8",
            )
        try:
            yield LlamaCpp(process, complaints)
        finally:
            # It holds nothing that must be put away.
            process.kill()
            process.communicate()
