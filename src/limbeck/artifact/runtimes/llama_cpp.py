"""llama.cpp on the CPU, in a process of its own (`artifact.llama_cpp`)."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from limbeck.artifact.gguf import reference
from limbeck.artifact.gguf.file import GgufFile, read
from limbeck.artifact.gguf.writing import ACTIVATIONS
from limbeck.artifact.llama_cpp import process
from limbeck.artifact.llama_cpp.graph import open_file
from limbeck.artifact.runtimes import Graph


class LlamaCpp:
    """Opens `.gguf` files."""

    needs: ClassVar[Mapping[str, str]] = {"gguf": "pip install 'limbeck[generate]'"}

    # Against a reference that rounds as it does, only the order of additions differs; what that
    # moves across an edge of two integers the reference's own last bits say.
    allowed_flips: ClassVar[float] = 0.001

    def missing(self) -> str | None:
        """Node.js, or the library of llama.cpp, with the line that installs it."""
        return process.missing(process.default_folder())

    def open(self, path: Path, threads: int) -> Graph:
        """A process of llama.cpp that has loaded the file."""
        return open_file(path, threads)

    def reference(self, path: Path, *, rounds: bool, seed: int | None = None) -> Graph:
        """The file in numpy (`artifact.gguf.reference`); without the runtime's rounding, as the
        model was trained."""
        opened = read(path)
        rounding = reference.AS_LLAMA_CPP if rounds else as_trained(opened)
        if seed is not None:
            rounding = replace(rounding, last_bits=reference.LAST_BITS)
        decoder = reference.of_file(opened, rounding)
        decoder.chance = np.random.default_rng(seed or 0)
        return decoder.one_by_one


def as_trained(opened: GgufFile) -> reference.Rounding:
    """What the trained model of a file rounds before its products."""
    if opened.metadata.get(ACTIVATIONS) == "int8":
        return reference.AS_TRAINED
    return reference.FLOAT
