"""How the graph of an artifact is opened and run: one file for each runtime, and no torch in any.

The manifest of an artifact names a runtime beside each graph, and `open_graph` finds it here by
that name. What writes a graph is an exporter (`limbeck.exporters`): it names the runtimes that open
its file and knows nothing else about them. A runtime is a class without keys that has what
`Runtime` lists; an installed package offers its own under the entry point group `limbeck.runtimes`.
"""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from limbeck.core import registry
from limbeck.core.contract import wrong_return
from limbeck.core.wording import suggest

# Input arrays by name to the array of logits. Names that the graph does not read are ignored.
Graph = Callable[[dict[str, np.ndarray]], np.ndarray]


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
    needs = registry.load("runtimes", runtime).needs
    require_packages(needs, "name another runtime that the artifact offers")


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
    return _checked(graph, runtime)


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
