"""Rows to checked splits, and splits to batches whose order is a pure function of (seed, epoch).

A source without a test split gives up a fifth of train, one without a validation split a tenth: seeded, stratified by label, and said so.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from limbeck import registry
from limbeck.sources import Row
from limbeck.store import digest

LENGTH_POOL = 50  # batches of similar length are cut from pools of this many batches


@dataclass(frozen=True)
class Data:
    """Checked splits. `train` holds the labelled rows first, then the unlabelled ones; `notes` says what was drawn."""

    train: list[Row]
    validation: list[Row]
    test: list[Row]
    labels: list[str]
    notes: list[str] = field(default_factory=list)

    def fingerprint(self, split: str) -> str:
        """SHA-256 over every row of a split, in order, and the labels."""
        rows: list[Row] = getattr(self, split)
        return digest([self.labels, [_plain(row) for row in rows]])


def read(source: str, options: dict[str, Any], task: Any) -> Data:
    """The checked splits of a source for a task. Raises ValueError for an empty split or a label that train does not have."""
    splits = registry.create("sources", source, relocated(options)).read()
    labels, notes = task.find_labels(splits["train"]), []
    for name, share in (("test", 0.2), ("validation", 0.1)):
        if name not in splits:
            splits["train"], splits[name] = stratified_split(splits["train"], share, task.stratum)
            notes.append(f"{name}: {len(splits[name])} rows drawn from train (seeded, stratified)")
    for name in ("train", "validation", "test"):
        if not splits[name]:
            raise ValueError(f"data: the {name} split of `{source}` is empty")
    if len(labels) < 2:
        raise ValueError(f"data: train has one class only ({', '.join(labels)}); nothing can be learned from it")
    for name in ("validation", "test"):
        unknown = set(task.find_labels(splits[name])) - set(labels)
        if unknown:
            raise ValueError(f"data: the {name} split has labels that train lacks: {', '.join(sorted(unknown))}")
    train = splits["train"] + splits.get("unlabelled", [])
    return Data(train, splits["validation"], splits["test"], labels, notes)


def relocated(options: dict[str, Any]) -> dict[str, Any]:
    """A source's keys, where LIMBECK_DATA says where the folder that recipes call ../shared/data lies."""
    base, path = os.environ.get("LIMBECK_DATA"), options.get("path")
    if not base or not isinstance(path, str) or not path.startswith("../shared/data/"):
        return options
    return {**options, "path": str(Path(base) / path.removeprefix("../shared/data/"))}


def stratified_split(rows: Sequence[Row], share: float, stratum: Any) -> tuple[list[Row], list[Row]]:
    """(kept, drawn): `share` of every stratum is drawn by a fixed seed; both keep the order of `rows`."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[stratum(row)].append(index)
    generator = np.random.default_rng(0)
    drawn: set[int] = set()
    for _, members in sorted(groups.items()):
        drawn.update(generator.permutation(members)[: round(share * len(members))].tolist())
    return [row for i, row in enumerate(rows) if i not in drawn], [row for i, row in enumerate(rows) if i in drawn]


def batch_plan(sizes: Sequence[int], budget: int, *, seed: int, epoch: int) -> list[np.ndarray]:
    """Row indices of each batch of an epoch: rows of similar size together, at most `budget` padded units a batch, batches shuffled.

    `sizes`: units (tokens, or 1 for an image) of each row. A row larger than the budget stands alone.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(sizes))
    pool_rows = max(1, int(LENGTH_POOL * budget / max(1.0, float(np.mean(sizes)))))
    batches = [batch for start in range(0, len(order), pool_rows) for batch in _cut(order[start : start + pool_rows], sizes, budget)]
    return [batches[i] for i in generator.permutation(len(batches))]


def in_order(sizes: Sequence[int], budget: int) -> list[np.ndarray]:
    """Batches for evaluation: by size, no shuffling."""
    return list(_cut(np.arange(len(sizes)), sizes, budget))


def _cut(pool: np.ndarray, sizes: Sequence[int], budget: int) -> Iterator[np.ndarray]:
    """A pool, sorted by size, in batches of at most `budget` padded units."""
    batch: list[int] = []
    for index in sorted(pool.tolist(), key=lambda i: (sizes[i], i)):
        if batch and sizes[index] * (len(batch) + 1) > budget:
            yield np.array(batch)
            batch = []
        batch.append(index)
    if batch:
        yield np.array(batch)


def _plain(row: Row) -> Any:
    """A row as JSON data; an image as shape and bytes."""
    return {key: [list(value.shape), value.tobytes().hex()] if isinstance(value, np.ndarray) else value for key, value in row.items()}
