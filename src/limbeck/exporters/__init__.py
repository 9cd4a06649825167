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
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import nn


class Exporter(Protocol):
    """What every component of this folder offers. It has no keys: a recipe names it in `export`."""

    runtimes: ClassVar[tuple[str, ...]]
    """The runtimes that open what `export` writes, by their names in `artifact.runtimes`. Two
    exporters of one recipe may not share any."""

    needs: ClassVar[Mapping[str, str]]
    """Top-level package that `export` imports -> the `pip install` line that installs it."""

    def export(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], folder: Path
    ) -> dict[str, str]:
        """Write the graph of a converted model (`quantization.conversion`) into `folder`.

        inputs: an example of the model's inputs by name, two rows or more, to trace with. The graph
            must take any number of rows, and any number of tokens.
        folder: that of the artifact; exporters that ran before left their files there, which stay
            as they are. What the artifact reads inputs with lies there already (`dialogue.json`:
            tokenizer and chat template), for a file that holds it too. Whatever else lies there
            belongs to the artifact, too: leave nothing that is not needed. A file beside the graph
            that opens without it, and that is not called as the graph is (`model.bin` beside
            `model.xml`), is refused.

        Returns runtime -> name of its file, for every one of `runtimes`. The same model must give
        the same bytes: no time, no path. The file may be 2 % larger than the codes in their bits,
        the scales and the parameters that stayed float, beside names and nodes; an exporter says
        where its format takes more.

        Raises ValueError where the graph would not compute what was trained.
        """
        ...


@runtime_checkable
class ForTasks(Protocol):
    """What an exporter adds that is made for some tasks alone: their names in a recipe."""

    tasks: ClassVar[tuple[str, ...]]


@runtime_checkable
class LeavesTasks(Protocol):
    """What an exporter adds that another one stands in for, for some tasks."""

    other_exporters: ClassVar[Mapping[str, str]]
    """Task -> the exporter that writes its models for the same program, by their names."""


@runtime_checkable
class WritesFloat(Protocol):
    """What an exporter adds that may write integers alone: whether it writes a float model too, as
    every exporter does that does not say it. Float graphs are what an artifact is timed beside."""

    writes_float: ClassVar[bool]


@runtime_checkable
class KeepsKeysAndValues(Protocol):
    """What an exporter adds that writes models of text: how they keep the keys and values of
    earlier tokens. One that does not say it writes graphs that keep them in float."""

    kv_caches: ClassVar[tuple[str, ...]]
    """What a recipe's `quantize.kv_cache` may be."""

    other_kv_cache: ClassVar[str]
    """What a user does who wants another one: whole sentences, shown where the recipe is refused.
    """
