"""An open artifact: from raw input to decoded answer."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import Encoded, Task

Graph = Callable[[dict[str, np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Predictor:
    """A loaded artifact."""

    task: Task
    graph: Graph
    runtime: str
    folder: Path

    def predict(self, raw: Any) -> dict[str, Any]:
        """One text, list of words, image path, image bytes or uint8 array to its answer. Raises ValueError for an input that is none of these."""
        row = self.task.row(raw)
        return self.task.decode(row, self.logits(row))

    def logits(self, row: Row) -> np.ndarray:
        """(W, V) logits of one row; units that were cut off are 0."""
        return run_graph(self.graph, self.task.encode([row])[0])


def run_graph(graph: Graph, encoded: Encoded) -> np.ndarray:
    """(W, V) logits of one encoded row."""
    if encoded.has_tokens and encoded.inputs["input_ids"].ndim == 2:  # a batch of texts already
        return graph(encoded.inputs)
    logits = graph({name: value[None] for name, value in encoded.inputs.items()})
    if encoded.positions is None:
        return logits
    return np.where(
        (encoded.positions >= 0)[:, None], logits[0][np.maximum(encoded.positions, 0)], 0
    )
