"""How much work a whole split is, told from a sample of its encoded rows.

A unit of work is a padded token of a text, or an image (`core.events`). Rows of similar length
share a batch, so how much is padded depends on how many rows there are to choose from: a sample has
fewer, and its batches are made smaller by as much.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from limbeck.core.files import read_json
from limbeck.data.batches import (
    LENGTH_POOL,
    batch_plan,
    evaluation_batches,
    in_order,
    padded_size,
)
from limbeck.distillation import ragged_cache
from limbeck.models.taps import HIDDEN
from limbeck.sources import Row
from limbeck.tasks import Encoded, Task, packed

SAMPLE_SECONDS = 1.5  # spent on encoding a sample, at most
LEAST_SAMPLE = 64  # rows that are encoded however long they take
# Drawn for a rehearsal, beside the heaviest.
BATCHES = 2
# About what a Python object takes beside its content (a numpy array's header).
OBJECT_BYTES = 100
# About what the objects around one encoded row take (its dataclass, its dict of inputs).
ROW_BYTES = 400


@dataclass(frozen=True)
class Volume:
    """A split as one model reads it.

    rows: how many there are in the whole.
    encoded: some of them, encoded.
    seconds: how long that took.
    origins: of which row of the data each is, by its place in the sample.
    """

    rows: int
    encoded: list[Encoded]
    seconds: float
    origins: Sequence[int] = ()

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

        Args:
            budget: the most that a padded batch may cost.
        """
        # Rows are sorted within a pool: how many rows it has in the whole decides how alike the
        # neighbours are.
        mean_size = float(np.mean(self.sizes))
        pool_rows = LENGTH_POOL * budget / mean_size
        share = min(1.0, len(self.encoded) / min(pool_rows, self.rows))
        finer_budget = max(1, int(budget * share))
        # Any seed and epoch will do: only how rows are shuffled depends on them.
        plan = batch_plan(self.sizes, finer_budget, seed=0, epoch=0)
        return self._padded(plan)

    def passed(self, budget: int) -> float:
        """Padded units of a pass over the whole.

        The whole is cut by size: the sample is cut as much finer as it is smaller.

        Args:
            budget: the most that a padded batch may cost.
        """
        finer_budget = max(1, int(budget / self.scale))
        batches = in_order(self.sizes, finer_budget)
        return self._padded(batches)

    def _padded(self, batches: Sequence[np.ndarray]) -> float:
        """The whole's units, from the sample's batches."""
        units = sum(padded_size(self.sizes, rows) for rows in batches)
        return self.scale * units

    def cells(self, kind: str) -> float:
        """What a teacher's cache holds of the whole, of a kind of output (`ragged_cache`)."""
        counts = ragged_cache.count_cells(kind, self.encoded, np.array(self.sizes))
        return self.scale * int(counts.sum())

    def unread_mb(self) -> float:
        """The memory of the rows that are not encoded yet."""
        # Images are kept as they were read, and become inputs batch by batch.
        if not self.encoded[0].has_tokens:
            return 0.0
        held = sum(_held_bytes(row) for row in self.encoded)
        return (self.scale - 1) * held / 2**20


def volume_of(task: Task, rows: Sequence[Row], num_rows: int) -> Volume:
    """A split of `num_rows` rows, from as many of the sample `rows` as are encoded in a second or
    so."""
    began = time.perf_counter()
    encoded: list[Encoded] = []
    origins: list[int] = []
    for number, row in enumerate(rows):
        # A long text or dialogue may be read in several parts.
        encoded += task.encode([row])
        origins += [number] * (len(encoded) - len(origins))
        is_late = time.perf_counter() - began > SAMPLE_SECONDS
        if is_late and len(encoded) >= LEAST_SAMPLE:
            break
    seconds = time.perf_counter() - began
    parts_of_row = len(encoded) / (number + 1)
    return Volume(round(num_rows * parts_of_row), encoded, seconds, origins)


def _held_bytes(row: Encoded) -> int:
    """What one encoded text takes in memory."""
    arrays = (*row.inputs.values(), row.labels)
    num_bytes = sum(array.nbytes + OBJECT_BYTES for array in arrays)
    return num_bytes + ROW_BYTES


def units_of(encoded: Sequence[Encoded], *, one_by_one: bool = False) -> float:
    """Padded units of one pass over these very rows."""
    sizes = [row.size for row in encoded]
    batches = evaluation_batches(encoded, one_by_one)
    return sum(padded_size(sizes, rows) for rows in batches)


def spread(rows: Sequence[Row], count: int) -> Sequence[Row]:
    """At most `count` rows, drawn by a fixed seed, in their order."""
    if len(rows) <= count:
        return rows
    # Not every n-th row: a file may repeat its labels in that rhythm.
    generator = np.random.default_rng(0)
    chosen = generator.choice(len(rows), count, replace=False)
    return [rows[number] for number in np.sort(chosen)]


def rows_of_few_batches(volume: Volume, budget: int) -> list[int]:
    """The numbers of the rows of BATCHES batches of the sample and of its heaviest, each once."""
    sizes = volume.sizes
    plan = batch_plan(sizes, budget, seed=0, epoch=0)

    def weight(rows: np.ndarray) -> float:
        # The longest texts of all fill memory most: attention grows with the length squared.
        longest = max(sizes[row] for row in rows)
        return longest * padded_size(sizes, rows)

    heaviest = max(plan, key=weight)
    wanted = np.concatenate([*plan[:BATCHES], heaviest])
    return list(dict.fromkeys(wanted.tolist()))


def cache_bytes(folder: Path, here: Volume, whole: Volume) -> float:
    """What a teacher's cache of the `whole` takes on disk, by that of the sample in `folder`."""
    # Files are named `tap.<n>.npy`, `tap.<n>.scale.npy` and so on; the others hold something
    # for each unit, as those of hidden tensors do.
    taps = read_json(folder / "taps.json")["taps"]
    kinds: dict[str, str] = {}
    for number, (kind, _) in enumerate(taps):
        kinds[f"tap.{number}"] = kind
    num_bytes = 0.0
    for path in folder.iterdir():
        name = ".".join(path.name.split(".")[:2])
        kind = kinds.get(name, HIDDEN)
        # Cells of attention grow with the square of a text's length, others do not.
        num_bytes += path.stat().st_size * whole.cells(kind) / here.cells(kind)
    return num_bytes


def whole_sizes(
    volume: Volume, encode: Callable[[], Sequence[Encoded]] | None
) -> tuple[list[int], bool]:
    """(what each row of a whole split costs a batch, whether this is exact).

    `encode`: encodes all of its rows; None draws from the sample in their place.
    """
    # Every image costs the same.
    if not volume.encoded[0].has_tokens:
        return [volume.sizes[0]] * volume.rows, True
    if encode is not None:
        return packed.sizes(encode()), True
    generator = np.random.default_rng(0)
    return generator.choice(volume.sizes, volume.rows).tolist(), False
