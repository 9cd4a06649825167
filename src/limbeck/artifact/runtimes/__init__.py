"""How the graph of an artifact is opened and run: one file for each runtime, and no torch in any.

The manifest of an artifact names a runtime beside each graph, and `open_graph` finds it here by
that name. What writes a graph is an exporter (`limbeck.exporters`): it names the runtimes that open
its file and knows nothing else about them. A runtime is a class without keys that has what
`Runtime` lists; an installed package offers its own under the entry point group `limbeck.runtimes`.
"""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from limbeck.artifact.generation import Decoder
from limbeck.core import registry
from limbeck.core.contract import wrong_return
from limbeck.core.wording import suggest

# Input arrays by name to the array of logits. Names that the graph does not read are ignored.
Graph = Callable[[dict[str, np.ndarray]], np.ndarray]

# What inputs that hold earlier keys and values are called.
CACHE = "past_key_values"
# Types of these in ONNX Runtime's words: floats, or codes of int8 and their scales.
CACHE_TYPES = {
    "tensor(float)": np.float32,
    "tensor(int8)": np.int8,
    "tensor(float16)": np.float16,
}


class Runtime(Protocol):
    """What every file of this folder offers."""

    needs: ClassVar[Mapping[str, str]]
    """Top-level package that `open` imports -> the `pip install` line that installs it."""

    allowed_flips: ClassVar[float]
    """Share of a test set's decisions that may differ from the trained model's
    (`artifact.proof.parity`).

    It allows for what this runtime computes otherwise by design; the reason stands beside the
    number. At most 0.01, and 0.001 where it computes the trained integers as they are.
    """

    def open(self, path: Path, threads: int) -> Graph:
        """Load a graph for `threads` CPU threads.

        What it returns answers any number of rows with float32 logits, and ignores inputs that the
        graph does not read. The logits belong to the caller: a later call must not overwrite them.
        """
        ...


@runtime_checkable
class OutsidePython(Protocol):
    """What a runtime adds that runs a program which pip does not install."""

    def missing(self) -> str | None:
        """What is not there, with the line that installs it; None where all is. It is asked before
        a training, and runs nothing."""
        ...


@runtime_checkable
class RoundsByItself(Protocol):
    """What a runtime adds that rounds activations as no trained model does.

    Its answers are held against a slow reference that rounds as it does, and that reference,
    without the runtime's rounding, against the trained model (`artifact.proof.parity`).
    """

    def reference(self, path: Path, *, rounds: bool, seed: int | None = None) -> Graph:
        """The model of a file, computed without the runtime.

        rounds: as the runtime does; else as the model was trained, which is in float32, or with
            activations that were int8 in training too.
        seed: of the last bits of its products, which are moved by chance; None: as they are.
        """
        ...


@runtime_checkable
class ByPlace(Protocol):
    """A graph that is asked for some places of one text, because all of them take long to hand
    over. T tokens, W places, V vocabulary."""

    def logits_at(self, ids: np.ndarray, places: np.ndarray) -> np.ndarray:
        """(W, V) float32 logits at some places of (T) ids."""
        ...

    def scores_at(
        self, ids: np.ndarray, places: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """At each place the log-probability of its label, in nats, and the likeliest token: (W)
        float64, (W) int64."""
        ...


def text_by_text(
    answer: Callable[[np.ndarray], np.ndarray], inputs: Mapping[str, np.ndarray]
) -> np.ndarray:
    """(B, T, V) logits of a model that reads one text at a time; 0 at the padding behind it.

    answer: (T) ids of a text without padding to (T, V) logits.
    """
    ids = inputs["input_ids"]
    lengths = inputs.get("attention_mask", np.ones_like(ids)).sum(1).tolist()
    rows = []
    for row, length in zip(ids, lengths, strict=True):
        rows.append(answer(row[:length]))
    logits = np.zeros((*ids.shape, rows[0].shape[1]), np.float32)
    for padded, row in zip(logits, rows, strict=True):
        padded[: len(row)] = row
    return logits


def require_packages(needs: Mapping[str, str], otherwise: str) -> None:
    """Check, without importing them, that packages are installed.

    needs: package -> the command line that installs it.
    otherwise: what the user can do instead of installing, as the end of a sentence.

    Raises ValueError for the first package that is missing.
    """
    for package, install in needs.items():
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"the package `{package}` is not installed. {install}, or {otherwise}")


def require_runtime(runtime: str) -> None:
    """Raise ValueError where the runtime of that name, or a package that it needs, is missing."""
    if runtime not in registry.names("runtimes"):
        suggestion = suggest(runtime, registry.names("runtimes"))
        raise ValueError(
            f"no package here offers the runtime `{runtime}`. Install the one that does, or name "
            f"another runtime that the artifact offers. {suggestion}"
        )
    opener: Runtime = registry.create("runtimes", runtime)
    require_programs(opener, "name another runtime that the artifact offers")


def require_programs(opener: Runtime, otherwise: str) -> None:
    """Check that what a runtime needs is here: packages, and programs beside them.

    otherwise: as in `require_packages`. Raises ValueError for the first that is missing.
    """
    require_packages(opener.needs, otherwise)
    lacking = opener.missing() if isinstance(opener, OutsidePython) else None
    if lacking:
        raise ValueError(f"{lacking}, or {otherwise}")


def open_graph(path: Path, runtime: str, threads: int) -> Graph:
    """Open the graph at `path` in the runtime of that name.

    Raises ValueError where the runtime, or a package that it needs, is not installed.
    """
    require_runtime(runtime)
    opener: Runtime = registry.create("runtimes", runtime)
    graph = opener.open(path, threads)
    if not callable(graph):
        expected = "a function of inputs that gives logits"
        raise wrong_return(f"the runtime `{runtime}`", "open", graph, expected, opener.open)
    # What it hands over by place is of one text, whose rows need not be counted; and what writes by
    # itself is asked for more than logits.
    return graph if isinstance(graph, ByPlace | Decoder) else _checked(graph, runtime)


def _checked(graph: Graph, runtime: str) -> Graph:
    """A graph that refuses logits which are none: a runtime may be somebody else's."""

    is_ours = registry.package_of("runtimes", runtime) is None

    def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
        # What is somebody else's may write into what it is given, and others read that too.
        given = inputs if is_ours else {name: value.copy() for name, value in inputs.items()}
        logits = graph(given)
        rows = len(next(iter(inputs.values())))
        if not isinstance(logits, np.ndarray) or logits.ndim < 2 or len(logits) != rows:
            expected = f"an array of logits of {rows} rows"
            told = f"the runtime `{runtime}`"
            raise wrong_return(told, "open(...)(inputs)", logits, expected, graph)
        return logits

    return run
