"""A GGUF file as a graph of an artifact: llama.cpp in a process of its own, asked for logits."""

from contextlib import AbstractContextManager
from pathlib import Path

from limbeck.artifact.gguf import decoders
from limbeck.artifact.gguf.file import read
from limbeck.artifact.llama_cpp import process
from limbeck.artifact.llama_cpp.process import Settings
from limbeck.artifact.model_process.graph import ProcessGraph
from limbeck.artifact.model_process.process import ModelProcess


def open_file(path: Path, threads: int) -> ProcessGraph:
    """Open a GGUF file. Raises ValueError where it is broken, or llama.cpp refuses it."""
    sizes = decoders.sizes_of_metadata(read(path).metadata)

    def start(context: int) -> AbstractContextManager[ModelProcess]:
        return process.run(path, Settings(threads=threads, context=context))

    return ProcessGraph(path.name, start, sizes.context)
