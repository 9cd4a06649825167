"""Which rows make a batch, and in which order: a pure function of the rows' sizes, the seed, the
epoch and the position, so that a resumed training goes on with the same batches.

The size of a row is what it costs: its tokens, or 1 for an image. Rows of similar size stand
together, because every row of a batch is padded to the longest.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from limbeck.models.torch_batches import batch_of
from limbeck.tasks import Batch, Encoded, Task, packed
from limbeck.tasks.types import Array

# What a batch of a pass without training may cost: more than one of training (1,024 tokens or 64
# images, where a recipe does not say), since no activations are kept for gradients.
EVALUATION_TOKENS = 4096
EVALUATION_ROWS = 256

# Training batches are cut from pools of about this many batches. Within a pool rows are sorted by
# size; which rows share a pool is drawn anew in each epoch.
LENGTH_POOL = 50


def batch_plan(
    sizes: Sequence[int],
    budget: int,
    *,
    seed: int,
    epoch: int,
) -> list[Array]:
    """The rows of each batch of an epoch, as indices, in the order of training.

    `sizes`: of all rows. `budget`: the most that a padded batch may cost; a row that costs more
    stands alone. Every row is in one batch.
    """
    # Both numbers seed it, so that epoch 1 of seed 0 is not epoch 0 of seed 1.
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(sizes))
    mean_size = max(1.0, float(np.mean(sizes)))
    pool_rows = max(1, int(LENGTH_POOL * budget / mean_size))
    batches: list[Array] = []
    for start in range(0, len(order), pool_rows):
        pool = order[start : start + pool_rows]
        batches.extend(cut_by_size(pool, sizes, budget))
    # Without this the short rows of a pool would all come before the long ones.
    return [batches[index] for index in generator.permutation(len(batches))]


def shard(
    rows: Array,
    rank: int,
    world_size: int,
) -> Array:
    """The share of a batch that one of several processes reads, for data-parallel training.

    `rows`: of the whole batch. `rank`: the process's number, from 0. `world_size`: how many there
    are.

    Shares are neighbours, as even as can be, the longer ones first; in the order of the ranks they
    are the batch. A batch with fewer rows than processes gives some of them an empty share, so that
    all processes go through the same number of batches.

    Example:
        >>> [shard(np.arange(5), rank, 2).tolist() for rank in range(2)]
        [[0, 1, 2], [3, 4]]
    """
    return np.array_split(rows, world_size)[rank]


def padded_size(sizes: Sequence[int], rows: Array) -> float:
    """What a batch of these rows costs: its padded tokens, or its images. `sizes`: of all rows."""
    return float(len(rows) * max(sizes[row] for row in rows))


def evaluation_batches(encoded: Sequence[Encoded], one_by_one: bool = False) -> list[Array]:
    """The rows of each batch of a pass without training; of one row each if `one_by_one`."""
    budget = 1 if one_by_one else evaluation_budget(encoded)
    return in_order(packed.sizes(encoded), budget)


def evaluation_budget(encoded: Sequence[Encoded]) -> int:
    """What a batch of a pass without training may cost."""
    return EVALUATION_TOKENS if encoded[0].has_tokens else EVALUATION_ROWS


def batches_of(rows: Sequence[Encoded], task: Task) -> list[Batch]:
    """Rows in batches of a pass without training, of torch tensors on the CPU."""
    return [batch_of(rows, part, task.padding) for part in evaluation_batches(rows)]


def in_order(sizes: Sequence[int], budget: int) -> list[Array]:
    """The rows of each batch from the smallest row to the largest; nothing is drawn."""
    return list(cut_by_size(np.arange(len(sizes)), sizes, budget))


def cut_by_size(
    pool: Array,
    sizes: Sequence[int],
    budget: int,
) -> Iterator[Array]:
    """The rows of a pool, sorted by size, in batches that cost at most `budget` padded.

    Rows of one size keep the pool's order, which training has shuffled.
    """
    batch: list[int] = []
    for index in sorted(pool.tolist(), key=sizes.__getitem__):
        # Sorted, so this row is the longest, and all of the batch would be padded to it.
        if batch and sizes[index] * (len(batch) + 1) > budget:
            yield np.array(batch)
            batch = []
        batch.append(index)
    if batch:
        yield np.array(batch)
