"""Plain transformers on the CPU, in a process of its own (`artifact.compressed_tensors`): what
everybody gets who opens the folder with `AutoModelForCausalLM.from_pretrained`."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from limbeck.artifact.compressed_tensors.graph import open_folder, reference_of
from limbeck.artifact.gguf.reference import LAST_BITS
from limbeck.artifact.runtimes import Graph


class Transformers:
    """Opens the folder of a `model.safetensors` of compressed-tensors."""

    needs: ClassVar[Mapping[str, str]] = {
        "torch": "pip install 'limbeck[train]'",
        "transformers": "pip install 'limbeck[train]'",
        "compressed_tensors": "pip install 'limbeck[compressed]'",
    }

    # The weights are those that were trained, to the bit, and are multiplied in float32: only the
    # order of additions differs, and against a reference that rounds activations alike.
    allowed_flips: ClassVar[float] = 0.001

    def open(self, path: Path, threads: int) -> Graph:
        """A process of transformers that has loaded the folder in which the file lies."""
        return open_folder(path.parent, threads)

    def reference(self, path: Path, *, rounds: bool, seed: int | None = None) -> Graph:
        """The folder in numpy; without the runtime's rounding, as the model was trained."""
        last_bits = 0.0 if seed is None else LAST_BITS
        decoder = reference_of(path.parent, rounds=rounds, last_bits=last_bits)
        decoder.chance = np.random.default_rng(seed or 0)
        return decoder.one_by_one
