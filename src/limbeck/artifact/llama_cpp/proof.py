"""Whether llama.cpp computes a GGUF file as the reference that rounds as it does."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from limbeck.artifact.gguf import reference
from limbeck.artifact.gguf.file import read
from limbeck.artifact.llama_cpp import process
from limbeck.artifact.llama_cpp.process import Settings
from limbeck.artifact.model_process import proof
from limbeck.artifact.model_process.proof import MOST_SAID, Proof


def prove(
    path: Path, documents: Sequence[Sequence[int]], settings: Settings | None = None
) -> Proof:
    """Hold llama.cpp against the reference on documents of token ids, two at least in each
    (`model_process.proof`). Raises ValueError for a file that either of them refuses."""
    settings = settings or Settings(context=max(map(len, documents)) + MOST_SAID)
    rounding = replace(reference.AS_LLAMA_CPP, cache=settings.cache == "F16")
    decoder = reference.of_file(read(path), rounding)
    return proof.prove(process.run(path, settings), decoder, documents)
