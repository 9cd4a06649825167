"""An open artifact: from raw input to decoded answer.

W: labelled places of a row (the words of a sentence when tagging, else one), V: classes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.artifact.runtimes import Graph
from limbeck.sources import Row
from limbeck.tasks import Encoded, Task


@dataclass(frozen=True)
class Predictor:
    """A loaded artifact. `runtime` is the name of what runs its `graph`."""

    task: Task
    graph: Graph
    runtime: str
    folder: Path

    @property
    def reads_images(self) -> bool:
        """Whether it answers images; else it answers texts."""
        return "pixel_values" in self.task.input_names

    def predict(self, raw: Any) -> dict[str, Any]:
        """Answer one input with what the task decodes, such as a label and probabilities.

        raw: a text, a list of words, the path or the bytes of an image, or a uint8 array.

        Raises ValueError for an input that is none of these.
        """
        row = self.task.row(raw)
        return self.task.decode(row, self.logits(row))

    def logits(self, row: Row) -> np.ndarray:
        """(W, V) logits of one row; 0 where a word was cut off because its text is too long."""
        encoded = self.task.encode([row])[0]
        return run_graph(self.graph, encoded)


def run_graph(graph: Graph, encoded: Encoded) -> np.ndarray:
    """(W, V) logits of one encoded row."""
    if encoded.has_tokens and encoded.inputs["input_ids"].ndim == 2:
        # One row of several texts (a query and its passages) is a batch already.
        return graph(encoded.inputs)
    # A graph takes rows: this batch has one.
    batch = {name: value[None] for name, value in encoded.inputs.items()}
    logits = graph(batch)
    if encoded.positions is None:
        return logits
    # A word that was cut off has the position -1: it reads token 0 here and is then set to 0.
    positions = np.maximum(encoded.positions, 0)
    is_kept = (encoded.positions >= 0)[:, None]
    return np.where(is_kept, logits[0][positions], 0)
