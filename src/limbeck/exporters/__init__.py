"""How a trained model is written as a graph: one file for each kind of graph.

An exporter writes the integer codes and the learned scales as they are and never computes them
anew. It names the runtimes that open its graph, and knows nothing else about them: how a graph is
opened stands in `limbeck.artifact.runtimes`. A target with a runtime of its own is two files, one
here and one there; nothing else is edited. An installed package offers its own under the entry
point groups `limbeck.exporters` and `limbeck.runtimes`. `requirements` asks before a training
whether all of it is there.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from torch import nn


class Exporter(Protocol):
    """What every component of this folder offers. Its constructor takes its recipe keys."""

    runtimes: ClassVar[tuple[str, ...]]
    """The runtimes that open what `export` writes, by their names in `artifact.runtimes`."""

    needs: ClassVar[Mapping[str, str]]
    """Top-level package that `export` imports -> the command line that installs it."""

    def export(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], folder: Path
    ) -> dict[str, str]:
        """Write the graph of a converted model (`quantization.conversion`) into `folder`.

        inputs: an example of the model's inputs by name, two rows or more, to trace with. The graph
            must take any number of rows, and any number of tokens.
        folder: that of the artifact; exporters that ran before left their files there.

        Returns runtime -> name of its file, for every one of `runtimes`. The same model must give
        the same bytes: no time, no path.

        Raises ValueError where the graph would not compute what was trained.
        """
        ...
