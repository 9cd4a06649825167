"""Which rows of a batch each of several processes reads, and their outputs put together again.

The shares of a batch are neighbours; one after the other, in the order of the processes, they are
the whole batch again.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from limbeck.data.batches import shard
from limbeck.models.processes import gather_rows, process_index
from limbeck.models.projection import Projected
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


def parts_of(num_rows: int, count: int) -> tuple[int, ...]:
    """How many rows of a batch each of `count` processes reads: as even as can be, the first more.

    Example:
        >>> parts_of(5, 2)
        (3, 2)
    """
    rows = np.arange(num_rows)
    shares = [shard(rows, index, count) for index in range(count)]
    return tuple(len(share) for share in shares)


def rows_of_process(batch: Batch, index: int, count: int) -> Batch:
    """The rows of a batch that process `index` of `count` reads, padded as the whole batch is."""
    counts = parts_of(len(batch.rows), count)
    start = sum(counts[:index])
    stop = start + counts[index]
    own = slice(start, stop)
    # Where a row is one unit there are no positions; only `mixup` gives rows a second label.
    positions = None
    if batch.positions is not None:
        positions = batch.positions[own]
    mixed = None
    if batch.mixed is not None:
        # One share of the second label holds for the whole batch, and is no tensor of rows.
        other_labels, share = batch.mixed
        mixed = (other_labels[own], share)
    return replace(
        batch,
        inputs={name: value[own] for name, value in batch.inputs.items()},
        positions=positions,
        labels=batch.labels[own],
        mask=batch.mask[own],
        rows=batch.rows[own],
        mixed=mixed,
    )


def gathered(outputs: Outputs, batch: Batch, count: int) -> Outputs:
    """The outputs of all processes as those of the whole `batch`, with gradients for one's own.

    Args:
        outputs: of the rows that this process has read.
        batch: whole, as every process holds it.
        count: how many processes there are.

    Raises:
        Interrupted: a process of the run is gone.
    """
    counts = parts_of(len(batch.rows), count)
    assert len(outputs.mask) == counts[process_index()]
    # All processes gather the same tensors in this order, by which alone they are matched.
    logits: Any = outputs.later
    if isinstance(logits, Projected):
        # Every process has the projection, and computes the losses over all rows: the gradients of
        # its weights are the same everywhere, and so is their mean.
        logits = replace(logits, hidden=gather_rows(logits.hidden, counts))
    else:
        logits = gather_rows(outputs.logits, counts)
    inner = {}
    for tap, value in outputs.inner.items():
        inner[tap] = gather_rows(value, counts)
    places = None
    if outputs.places is not None:
        # As bytes: not every backend of torch.distributed gathers bools.
        flags = gather_rows(outputs.places.to(torch.uint8), counts)
        places = flags.bool()
    # The mask is known everywhere: it is part of the batch.
    return Outputs(logits=logits, mask=batch.mask, inner=inner, places=places)
