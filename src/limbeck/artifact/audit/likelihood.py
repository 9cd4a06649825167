"""What the differences cost: perplexity of both on the same tokens, and how far they are apart.

The folder's model is computed in float32 in numpy; the file's in llama.cpp where that is installed,
else in numpy as llama.cpp rounds (`gguf.reference`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limbeck.artifact.gguf import reference
from limbeck.artifact.gguf.file import GgufFile
from limbeck.artifact.gguf.folder import ModelFolder
from limbeck.artifact.llama_cpp import process
from limbeck.artifact.model_process.process import ModelProcess


@dataclass(frozen=True)
class Likelihood:
    """Of the same tokens, by both. `runtime`: who computed the file's."""

    runtime: str
    tokens: int
    nats: float
    file_nats: float
    mean: float
    largest: float
    agreement: float

    @property
    def drop(self) -> float:
        """The file's perplexity over the folder's, less one."""
        return math.expm1(self.file_nats - self.nats)

    def line(self) -> str:
        """The figures in words."""
        return (
            f"perplexity on {self.tokens:,} tokens: folder {math.exp(self.nats):.3f}, file "
            f"{math.exp(self.file_nats):.3f} ({self.drop:+.2%}, {self.runtime}); "
            f"log-probabilities {self.mean:.3f} nats apart on average, {self.largest:.2f} at most; "
            f"the likeliest token is the same in {self.agreement:.1%}"
        )


def compared(
    opened: GgufFile,
    folder: ModelFolder,
    documents: Sequence[Sequence[int]],
    model: ModelProcess | None,
) -> Likelihood:
    """Both on documents of token ids, two at least in each. `model`: the file in llama.cpp.

    Raises ValueError for a file that cannot be run, such as one that lacks a tensor.
    """
    # One document at a time: no padding, which could differ.
    arrays = [np.array(tokens, np.int64) for tokens in documents]
    # What is kept of it is a figure for each token.
    own = reference.of_folder(folder)
    expected = [own.log_probabilities(tokens) for tokens in arrays]
    if model is None:
        decoder = reference.of_file(opened, reference.AS_LLAMA_CPP)
        found = [decoder.log_probabilities(tokens) for tokens in arrays]
    else:
        found = [model.score(tokens) for tokens in documents]
    # Over tokens, as perplexity is told, and not over documents.
    nats, greedy = (np.concatenate(each) for each in zip(*expected, strict=True))
    file_nats, file_greedy = (np.concatenate(each) for each in zip(*found, strict=True))
    difference = np.abs(nats - file_nats)
    return Likelihood(
        runtime="numpy, rounded as llama.cpp does" if model is None else "llama.cpp",
        tokens=len(nats),
        nats=-float(nats.mean()),
        file_nats=-float(file_nats.mean()),
        mean=float(difference.mean()),
        largest=float(difference.max()),
        agreement=float(np.mean(greedy == file_greedy)),
    )


def llama_cpp_here(folder: Path | None) -> str | None:
    """Why llama.cpp does not run here; None where it does. Raises ValueError where the user names
    a folder that does not have it."""
    # Who names a folder wants llama.cpp, and nothing in its place.
    lacks = process.missing(folder or process.default_folder())
    if lacks is not None and folder is not None:
        raise ValueError(lacks)
    return lacks
