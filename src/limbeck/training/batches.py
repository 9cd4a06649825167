"""Which rows of a batch each of several processes reads, and their outputs put together again."""

from dataclasses import replace

import numpy as np
import torch

from limbeck.models.processes import gather_rows, process_index
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


def parts_of(num_rows: int, count: int) -> tuple[int, ...]:
    """How many rows of a batch each of `count` processes reads: as even as can be, the first more."""
    return tuple(len(part) for part in np.array_split(np.arange(num_rows), count))


def rows_of_process(batch: Batch, index: int, count: int) -> Batch:
    """The rows of a batch that process `index` of `count` reads, padded as the whole batch is."""
    counts = parts_of(len(batch.rows), count)
    start = sum(counts[:index])
    own = slice(start, start + counts[index])
    mixed = None if batch.mixed is None else (batch.mixed[0][own], batch.mixed[1])
    return replace(
        batch,
        inputs={name: value[own] for name, value in batch.inputs.items()},
        positions=None if batch.positions is None else batch.positions[own],
        labels=batch.labels[own],
        mask=batch.mask[own],
        rows=batch.rows[own],
        mixed=mixed,
    )


def gathered(outputs: Outputs, batch: Batch, count: int) -> Outputs:
    """The outputs of all processes as those of the whole `batch`, with gradients for one's own."""
    counts = parts_of(len(batch.rows), count)
    assert len(outputs.logits) == counts[process_index()]
    places = outputs.places
    return Outputs(
        gather_rows(outputs.logits, counts),
        batch.mask,
        {tap: gather_rows(value, counts) for tap, value in outputs.inner.items()},
        None if places is None else gather_rows(places.to(torch.uint8), counts).bool(),
    )
