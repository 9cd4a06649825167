"""A folder of compressed-tensors as a graph of an artifact: plain transformers in a process of its
own, asked for logits. The process reads the folder as anybody's program would, and nothing of ours.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

import limbeck
from limbeck.artifact.compressed_tensors import rounding
from limbeck.artifact.compressed_tensors.folder import WeightFolder
from limbeck.artifact.gguf import decoders, reference
from limbeck.artifact.model_process import process
from limbeck.artifact.model_process.graph import ProcessGraph
from limbeck.artifact.model_process.process import ModelProcess

# It needs torch, and so lies on the upper floor; here it is only a program that is run. Its name as
# a text tells the keys of stages that they depend on it.
WORKER = "limbeck.models.generation.folder_worker"
# Nothing is looked up outside of the folder.
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
# What rounds before products with integers: blocks of 32, as the reference calls them.
ROUNDED = "Q8_0"


@contextmanager
def run(folder: Path, threads: int = 1) -> Iterator[ModelProcess]:
    """transformers with a folder, until the `with` block ends. Raises ValueError, with its own
    words, for a folder that it does not open."""
    package = Path(limbeck.__file__).parent
    worker = package.parent.joinpath(*WORKER.split(".")).with_suffix(".py")
    # Without the folder of the program on the path, where names of ours hide those of others.
    command = [sys.executable, "-P", str(worker), str(folder.resolve()), str(threads)]
    with process.run("transformers", command, os.environ | OFFLINE) as model:
        yield model


def open_folder(folder: Path, threads: int) -> ProcessGraph:
    """Open a folder. Raises ValueError where it is broken, or transformers refuses it."""
    sizes = decoders.sizes_of_config(WeightFolder(folder).config)

    def start(context: int) -> AbstractContextManager[ModelProcess]:
        # Its cache grows by itself.
        return run(folder, threads)

    return ProcessGraph(folder.name, start, sizes.context, first_context=sizes.context)


def reference_of(folder: Path, *, rounds: bool, last_bits: float = 0.0) -> reference.Decoder:
    """The model of a folder in numpy.

    rounds: activations as compressed-tensors rounds them, where the folder says so; else as the
        model was trained.
    last_bits: relative spread by which products are moved by chance.
    """
    opened = WeightFolder(folder)
    kind = reference.FLOAT
    if opened.rounds:
        by = rounding.rounded if rounds else None
        kind = replace(reference.AS_TRAINED, by=by)

    def read(name: str) -> tuple[np.ndarray, str] | None:
        values = opened.values(name)
        is_integers = name.removesuffix(".weight") in opened.modules
        return None if values is None else (values, ROUNDED if is_integers else "F32")

    sizes = decoders.sizes_of_config(opened.config)
    return reference.Decoder(sizes, read, replace(kind, last_bits=last_bits))
