"""Which rows of train may be drawn into a split that a source lacks, and which go together.

Equal inputs go together, and rows of one `group` (a patient, a user, a document): a score on what
was learned by heart says little. A label's last rows stay in train, as nothing else teaches it.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import numpy as np

from limbeck.data.sampling import stratified_split
from limbeck.sources import Row
from limbeck.sources._on_disk import RowsOnDisk, picked
from limbeck.tasks import OverVocabulary, returned
from limbeck.tasks.likelihood import LIKELIHOODS


def draw(
    rows: Sequence[Row], share: float, task: Any
) -> tuple[Sequence[Row], Sequence[Row], list[str]]:
    """The rows that stay, those that are drawn, and notes on what could not be kept together.

    `share`, in [0, 1], of the rows is drawn by a fixed seed, stratified by the task.
    """
    units = drawable(rows, task)
    staying, leaving = _split_keeping_labels(rows, share, task, units)
    if leaving or len(rows) * share < 1:
        return staying, leaving, []
    # Units so large that none is ever due, or each the only one of a label.
    if units and any("group" in row for row in rows):
        fewest = min(units, key=len)
        smallest = set(fewest)
        others = [index for index in range(len(rows)) if index not in smallest]
        return picked(rows, others), picked(rows, sorted(smallest)), []
    # A split with known inputs is better than none: how many is counted and told elsewhere.
    by_row = _without_last([[index] for index in range(len(rows))], rows, task)
    staying, leaving = _split_keeping_labels(rows, share, task, by_row)
    notes = (
        ["warning: too few inputs that differ, so equal ones are drawn apart"] if leaving else []
    )
    return staying, leaving, notes


def _split_keeping_labels(
    rows: Sequence[Row], share: float, task: Any, units: Sequence[list[int]]
) -> tuple[Sequence[Row], Sequence[Row]]:
    """As `sampling.stratified_split`, but of every label a row stays.

    A unit is of its first row's label, so that all units of another label can be due at once.
    """
    units = list(units)
    every = _labels(rows, task) if has_labels(task) else frozenset()
    while True:
        staying, leaving = stratified_split(rows, share, partial(returned.stratum_of, task), units)
        lost = every - _labels(staying, task) if every else every
        # Each turn keeps a unit back, so that it ends.
        for label in sorted(lost):
            having = [unit for unit in units if label in _labels([rows[i] for i in unit], task)]
            if having:
                units.remove(min(having, key=len))
        if not lost:
            return staying, leaving


def lacking(rows: Sequence[Row], labels: Sequence[str], task: Any) -> list[str]:
    """Those of `labels` that no row of a drawn split has."""
    if not has_labels(task):
        return []
    there = _labels(rows, task)
    return [label for label in labels if label not in there]


def has_labels(task: Any) -> bool:
    """Whether rows have labels of a list: numbers have none, nor what is learned from itself."""
    are_numbers = LIKELIHOODS[task.likelihood].labels_are_numbers
    return not are_numbers and not issubclass(task, OverVocabulary)


def in_halves(rows: Sequence[Row], task: Any, seed: int) -> tuple[Sequence[Row], Sequence[Row]]:
    """Two halves of rows, drawn by a seed; what goes together stays together.

    Not stratified: a promise about rows to come stands on rows drawn as these are, the seldom
    labels' among them. Raises ValueError where there are not two rows that may part.
    """
    units = together(rows, task.content)
    if len(units) < 2:
        raise ValueError(
            f"decide: validation has {len(rows)} rows, of which all go together (equal inputs, or "
            "one group), so no half can be kept for the promise. Give it more rows, or leave "
            "`decide.max_error` and `decide.sets` out"
        )
    order = np.random.default_rng(seed).permutation(len(units))
    chosen: set[int] = set()
    for place in order:
        # The other half is at least as large, and never empty.
        if 2 * (len(chosen) + len(units[place])) <= len(rows):
            chosen.update(units[place])
    if not chosen:
        chosen.update(units[order[0]])
    kept = [index for index in range(len(rows)) if index not in chosen]
    return picked(rows, kept), picked(rows, sorted(chosen))


def drawable(rows: Sequence[Row], task: Any) -> list[list[int]]:
    """The indices of the rows that may be drawn, those that go together in a list each."""
    return _without_last(together(rows, task.content), rows, task)


def together(rows: Sequence[Row], content: Callable[[Row], Hashable]) -> list[list[int]]:
    """The indices of all rows; those of equal `content`, or of one group, in a list each."""
    if isinstance(rows, RowsOnDisk) and not any("group" in row for row in rows):
        return _equal(rows, content)
    # Each row points at an earlier one of its list, or at itself (disjoint sets): a row may join
    # a group and another group's input.
    parents = list(range(len(rows)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    first_of: dict[Hashable, int] = {}
    for index, row in enumerate(rows):
        # Hashes of contents, not contents: a large split would be held in memory twice.
        keys: list[Hashable] = [("input", hash(content(row)))]
        if "group" in row:
            keys.append(("group", row["group"]))
        for key in keys:
            earlier, later = sorted((root(first_of.setdefault(key, index)), root(index)))
            parents[later] = earlier
    members: dict[int, list[int]] = defaultdict(list)
    for index in range(len(rows)):
        members[root(index)].append(index)
    return list(members.values())


def _equal(rows: Sequence[Row], content: Callable[[Row], Hashable]) -> list[list[int]]:
    """As `together`, of rows without groups: a number for each row, in place of the objects by
    which rows of two groups find each other."""
    hashes = np.fromiter((hash(content(row)) for row in rows), np.int64, len(rows))
    _, first_of, number_of = np.unique(hashes, return_index=True, return_inverse=True)
    # Lists stand in the order of their first rows, rows in each in theirs.
    order = np.lexsort((np.arange(len(rows)), first_of[number_of]))
    ends = np.flatnonzero(np.diff(first_of[number_of][order])) + 1
    return [part.tolist() for part in np.split(order, ends)]


def _without_last(
    units: Sequence[Sequence[int]], rows: Sequence[Row], task: Any
) -> list[list[int]]:
    """The units without those that are the only one of a label."""
    if not has_labels(task):
        return [list(unit) for unit in units]
    labels_of = [_labels([rows[index] for index in unit], task) for unit in units]
    num_units: dict[str, int] = defaultdict(int)
    for labels in labels_of:
        for label in labels:
            num_units[label] += 1
    drawable = []
    for unit, labels in zip(units, labels_of, strict=True):
        if all(num_units[label] > 1 for label in labels):
            drawable.append(list(unit))
    return drawable


def _labels(rows: Sequence[Row], task: Any) -> frozenset[str]:
    """The labels of a few rows."""
    return frozenset(task.find_labels(rows))


def seldom(rows: Sequence[Row], task: Any) -> list[str]:
    """The labels that one row alone has."""
    if not has_labels(task):
        return []
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        for label in _labels([row], task):
            counts[label] += 1
    return [label for label, count in counts.items() if count == 1]
