"""How much work a whole split is, told from a sample of its encoded rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from limbeck.data.batches import (
    LENGTH_POOL,
    batch_plan,
    evaluation_batches,
    in_order,
    padded_size,
)
from limbeck.distillation import ragged_cache
from limbeck.sources import Row
from limbeck.tasks import Encoded

OBJECT_BYTES = 100  # about what a Python object takes beside its content
ROW_BYTES = 400  # about what the objects around one encoded row take


@dataclass(frozen=True)
class Volume:
    """A split as one model reads it: `rows` in the whole, some of them `encoded` in `seconds`."""

    rows: int
    encoded: list[Encoded]
    seconds: float

    @property
    def scale(self) -> float:
        """The whole over the sample."""
        return self.rows / len(self.encoded)

    @cached_property
    def sizes(self) -> list[int]:
        """What each row of the sample costs a batch."""
        return [row.size for row in self.encoded]

    def trained(self, budget: int) -> float:
        """Padded units of an epoch of the whole.

        A sample smaller than a pool of batches is cut finer, so that rows as similar meet.
        """
        pool = LENGTH_POOL * budget / float(np.mean(self.sizes))
        share = min(1.0, len(self.encoded) / min(pool, self.rows))
        finer = max(1, int(budget * share))
        return self._padded(batch_plan(self.sizes, finer, seed=0, epoch=0))

    def passed(self, budget: int) -> float:
        """Padded units of a pass over the whole.

        The whole is cut by size: the sample is cut as much finer as it is smaller.
        """
        finer = max(1, int(budget / self.scale))
        return self._padded(in_order(self.sizes, finer))

    def _padded(self, batches: Sequence[np.ndarray]) -> float:
        return self.scale * sum(padded_size(self.sizes, rows) for rows in batches)

    def cells(self, kind: str) -> float:
        """What a teacher's cache holds of the whole, of a kind of output."""
        counts = ragged_cache.count_cells(kind, self.encoded, np.array(self.sizes))
        return self.scale * int(counts.sum())

    def unread_mb(self) -> float:
        """What the rows will hold that are not encoded yet. Images hold nothing."""
        if not self.encoded[0].has_tokens:
            return 0.0
        held = sum(_held_bytes(row) for row in self.encoded)
        return (self.scale - 1) * held / 2**20


def _held_bytes(row: Encoded) -> int:
    """What one encoded text takes in memory."""
    arrays = (*row.inputs.values(), row.labels)
    return sum(array.nbytes + OBJECT_BYTES for array in arrays) + ROW_BYTES


def units_of(encoded: Sequence[Encoded], *, one_by_one: bool = False) -> float:
    """Padded units of one pass over these very rows."""
    sizes = [row.size for row in encoded]
    return sum(padded_size(sizes, rows) for rows in evaluation_batches(encoded, one_by_one))


def spread(rows: list[Row], count: int) -> list[Row]:
    """At most `count` rows, drawn by a fixed seed, in their order."""
    if len(rows) <= count:
        return rows
    chosen = np.random.default_rng(0).choice(len(rows), count, replace=False)
    return [rows[number] for number in np.sort(chosen)]
