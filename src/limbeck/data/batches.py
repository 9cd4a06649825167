"""Encoded rows to batches whose order is a pure function of (seed, epoch)."""

from collections.abc import Iterator, Sequence

import numpy as np

from limbeck.models.torch_batches import batch_of
from limbeck.tasks import Batch, Encoded, Task, packed

EVALUATION_TOKENS = 4096
EVALUATION_ROWS = 256


def evaluation_batches(encoded: Sequence[Encoded], one_by_one: bool = False) -> list[np.ndarray]:
    """Batches by size, or of one row."""
    return in_order(packed.sizes(encoded), 1 if one_by_one else evaluation_budget(encoded))


def batches_of(rows: Sequence[Encoded], task: Task) -> list[Batch]:
    """Rows in such batches, of torch tensors."""
    return [batch_of(rows, part, task.padding) for part in evaluation_batches(rows)]


def evaluation_budget(encoded: Sequence[Encoded]) -> int:
    """What a batch of a pass without training may cost."""
    return EVALUATION_TOKENS if encoded[0].has_tokens else EVALUATION_ROWS


LENGTH_POOL = 50  # batches of similar length are cut from pools of this many batches


def batch_plan(sizes: Sequence[int], budget: int, *, seed: int, epoch: int) -> list[np.ndarray]:
    """Row indices of each batch of an epoch: rows of similar size together, at most `budget` padded units a batch, batches shuffled.

    `sizes`: units (tokens, or 1 for an image) of each row. A row larger than the budget stands alone.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(sizes))
    pool_rows = max(1, int(LENGTH_POOL * budget / max(1.0, float(np.mean(sizes)))))
    batches = [
        batch
        for start in range(0, len(order), pool_rows)
        for batch in _cut(order[start : start + pool_rows], sizes, budget)
    ]
    return [batches[i] for i in generator.permutation(len(batches))]


def padded_size(sizes: Sequence[int], rows: np.ndarray) -> float:
    """What a batch costs: its padded tokens, or its images. `sizes`: of all rows, as for `batch_plan`."""
    return float(len(rows) * max(sizes[row] for row in rows))


def in_order(sizes: Sequence[int], budget: int) -> list[np.ndarray]:
    """Batches for evaluation: by size, no shuffling."""
    return list(_cut(np.arange(len(sizes)), sizes, budget))


def _cut(pool: np.ndarray, sizes: Sequence[int], budget: int) -> Iterator[np.ndarray]:
    """A pool, sorted by size, in batches of at most `budget` padded units; rows of one size stay in the pool's order, which training shuffled."""
    batch: list[int] = []
    for index in sorted(pool.tolist(), key=sizes.__getitem__):
        if batch and sizes[index] * (len(batch) + 1) > budget:
            yield np.array(batch)
            batch = []
        batch.append(index)
    if batch:
        yield np.array(batch)
