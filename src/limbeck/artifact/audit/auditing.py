"""The whole audit, from three paths to a verdict."""

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from limbeck.artifact.audit import likelihood, settings, tensors, texts
from limbeck.artifact.audit.likelihood import Likelihood
from limbeck.artifact.audit.tensors import ABSENT, TensorFinding
from limbeck.artifact.gguf.file import GgufFile, read
from limbeck.artifact.gguf.file_tokenizer import tokenizer_of
from limbeck.artifact.gguf.folder import ModelFolder, read_folder
from limbeck.artifact.llama_cpp import process
from limbeck.artifact.model_process.process import ModelProcess
from limbeck.core.wording import needs_package

# That are told on a terminal: one cause may show in every layer.
MOST_FAULTS = 12


@dataclass(frozen=True)
class Bounds:
    """What is asked of a file, and of how much text. `max_drop`: in relative perplexity."""

    max_drop: float = 0.05
    most_texts: int = 100
    most_tokens: int = 512
    threads: int = 1


@dataclass
class Audit:
    """What was found. `faults`: sentences, each about one thing that is wrong."""

    path: Path
    folder: Path
    max_drop: float
    tensors: list[TensorFinding] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    tokenizer: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    likelihood: Likelihood | None = None

    @property
    def faults(self) -> list[str]:
        """Everything that is wrong, in the order in which it should be mended."""
        # A wrong size explains much of what follows it.
        of_tensors = [each.fault for each in self.tensors if each.fault is not None]
        return [*self.settings, *of_tensors, *self.tokenizer, *self.drops]

    @property
    def drops(self) -> list[str]:
        """Whether perplexity is beyond its bound, or not a number."""
        if self.likelihood is None or self.likelihood.drop <= self.max_drop:
            return []
        return [f"perplexity is {self.likelihood.drop:+.2%}, and {self.max_drop:+.2%} is allowed"]

    def lines(self) -> Iterator[str]:
        """The audit in words; the last line is the verdict."""
        yield f"{self.path} against {self.folder}"
        # What is missing has no type.
        kinds = Counter(each.type for each in self.tensors if each.type != ABSENT)
        yield "tensors: " + ", ".join(f"{count} {name}" for name, count in kinds.most_common())
        for name in kinds:
            errors = [
                each.error for each in self.tensors if each.type == name and each.error is not None
            ]
            if errors:
                errors.sort()
                middle = errors[len(errors) // 2]
                most = errors[-1]
                yield f"  {name}: {middle:.3%} off the folder's in the median, {most:.3%} at most"
        if self.likelihood is not None:
            yield self.likelihood.line()
        yield from self.notes
        for fault in self.faults[:MOST_FAULTS]:
            yield f"- {fault}"
        if len(self.faults) > MOST_FAULTS:
            yield f"- and {len(self.faults) - MOST_FAULTS} more (--json has all)"
        yield self.verdict

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.faults:
            return (
                f"verdict: {len(self.faults)} things are wrong. The file is not what the folder is"
            )
        cost = "" if self.likelihood is None else f", at {self.likelihood.drop:+.2%} of perplexity"
        return f"verdict: the file is what the folder is{cost}"

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        found = self.likelihood
        return {
            "ok": not self.faults,
            "faults": self.faults,
            "notes": self.notes,
            "tensors": [vars(each) for each in self.tensors],
            "likelihood": None if found is None else vars(found) | {"drop": found.drop},
        }


def audit(
    path: Path, folder: Path, sources: Path, bounds: Bounds, llama_cpp: Path | None = None
) -> Audit:
    """Hold a GGUF file against the transformers folder that it was made from.

    sources: a file of texts. llama_cpp: where npm has installed node-llama-cpp; left out, the usual
    folder, and numpy where it is not there.

    Raises ValueError for what cannot be read, and for architectures that are not known here.
    """
    # The base install has no GGUF: the extra is named, and nothing is half done.
    if find_spec("gguf") is None:
        raise ValueError(needs_package("an audit", "gguf"))
    # 1. What the two say of themselves.
    opened = read(path)
    source = read_folder(folder)
    found = Audit(path, folder, bounds.max_drop)
    found.settings = list(settings.sizes_that_differ(opened, source))
    found.tensors = list(tensors.compared(opened, source))
    # 2. The texts, as the folder's own tokenizer reads them.
    own = Tokenizer.from_str(json.dumps(source.tokenizer_json))
    read_texts = texts.read_texts(sources, source, bounds.most_texts)
    # 3. The file in llama.cpp, which is what its users run, or without.
    lacks = likelihood.llama_cpp_here(llama_cpp)
    if lacks is not None:
        found.notes.append(f"without llama.cpp itself: {lacks}")
    with contextlib.ExitStack() as stack:
        model = None
        if lacks is None:
            given = process.Settings(threads=bounds.threads, context=bounds.most_tokens)
            try:
                model = stack.enter_context(process.run(path, given, llama_cpp))
            except ValueError as error:
                # The audit goes on: the tensors say why, and llama.cpp does not always.
                found.settings.append(f"llama.cpp does not open the file: {error}")
        # 4. The same tokens for both: where the file's tokenizer is wrong that is told by itself.
        found.tokenizer = list(_tokenizer_faults(opened, source, own, read_texts, model))
        documents = [own.encode(text).ids[: bounds.most_tokens] for text in read_texts]
        long_enough = [tokens for tokens in documents if len(tokens) > 1]
        if not long_enough:
            raise ValueError(f"{sources}: no text of two tokens or more to compare with")
        try:
            # A model that lacks a tensor has no perplexity.
            found.likelihood = likelihood.compared(opened, source, long_enough, model)
        except ValueError as error:
            found.notes.append(f"perplexity was not computed: {error}")
    return found


def _tokenizer_faults(
    opened: GgufFile,
    source: ModelFolder,
    own: Tokenizer,
    read_texts: list[str],
    model: ModelProcess | None,
) -> Iterator[str]:
    """What the file's tokenizer does otherwise: as it describes itself, and on every text."""
    yield from settings.tokenizer_that_differs(opened, source, source.num_rows)
    # Special tokens are read as such, as the folder's tokenizer always does.
    ids: list[list[int]]
    if model is not None:
        ids = [model.tokenize(text, special=True) for text in read_texts]
    else:
        try:
            of_file = tokenizer_of(opened.metadata)
        except ValueError as error:
            yield str(error)
            return
        ids = [of_file.encode(text, add_special_tokens=False).ids for text in read_texts]
    yield from settings.ids_that_differ(read_texts, own, ids)
    yield from texts.template_that_differs(opened.metadata, source)
