"""reference.json: what an artifact answered to its validation rows, in counts.

```
{"schema": 1, "rows": 1000, "statistics": [
 {"name": "label", "kind": "one", "names": ["card_arrival", ...], "counts": [13, ...]},
 {"name": "length", "kind": "ordered", "edges": [2.999999, 6, 8, ...], "counts": [0, 61, ...]}]}
```
`one`: every row has one of the names; `several`: any number of them, and a count is that of the
rows which have it; `ordered`: a number, counted by bins. Bin i of edges e holds what is above
e[i - 1] and at most e[i]; the first is below, and the last above all that validation had. Edges are
quantiles, so that bins hold about as many rows each.

Of the data there is nothing but counts. Shapes: C categories of a statistic, N rows.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeGuard

import numpy as np

from limbeck.evaluation.drift.observing import DIGITS, Value
from limbeck.sources._cells.tags import type_of
from limbeck.tasks.heads.tags import OUTSIDE
from limbeck.tasks.types import Array

FILE = "reference.json"
SCHEMA = 1
KINDS = ("one", "several", "ordered")
# Of an ordered statistic; fewer where a bin would hold less than a handful of rows.
MOST_BINS = 16
ROWS_OF_BIN = 8
# The least that two values differ by.
STEP = 10.0**-DIGITS


@dataclass(frozen=True)
class Statistic:
    """One statistic of the rows. `names`: of its categories; `edges`: of its bins; `counts`: (C)
    rows in each."""

    name: str
    kind: str
    counts: Array
    names: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The category of each name."""
        return {name: place for place, name in enumerate(self.names)}

    def categories(self, value: Any) -> Sequence[int]:
        """The categories that a value falls into; none of a name that is no category."""
        if self.kind == "ordered":
            return (bisect_left(self.edges, value),)
        names = (value,) if self.kind == "one" else value
        # Tasks of others may answer with names that are not among their labels.
        known = self.places
        return [known[name] for name in names if name in known]

    def told(self, place: int) -> str:
        """A category in words, or a bin and all below it."""
        if self.kind != "ordered":
            return f"`{self.names[place]}`"
        # The first edge is a step below the least of validation.
        if place == 0:
            return f"{self.name} below {self.edges[0] + STEP:g}"
        return f"{self.name} of at most {self.edges[place]:g}"

    def to_json(self) -> dict[str, Any]:
        """Its part of reference.json."""
        content: dict[str, Any] = {"name": self.name, "kind": self.kind}
        if self.kind == "ordered":
            content["edges"] = list(self.edges)
        else:
            content["names"] = list(self.names)
        content["counts"] = self.counts.tolist()
        return content


@dataclass(frozen=True)
class Reference:
    """What reference.json holds. `rows`: of validation."""

    rows: int
    statistics: tuple[Statistic, ...]

    def to_json(self) -> dict[str, Any]:
        """The content of reference.json."""
        statistics = [statistic.to_json() for statistic in self.statistics]
        return {"schema": SCHEMA, "rows": self.rows, "statistics": statistics}

    @classmethod
    def of(cls, content: Any) -> "Reference":
        """What reference.json says. Raises ValueError where it says nothing that could be meant."""
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ValueError(f"{FILE}: schema {SCHEMA} was expected. Export the artifact again")
        rows = content.get("rows")
        listed = content.get("statistics")
        if not _is_count(rows) or rows == 0 or not isinstance(listed, list):
            raise ValueError(f"{FILE}: a number of rows and a list of statistics were expected")
        return cls(rows, tuple(_statistic(each, rows) for each in listed))


def reference_of(
    observations: Sequence[Mapping[str, Value]],
    labels: Sequence[str],
) -> Reference:
    """The counts of observed rows (`observing.observed`), at least one.

    labels: those of the task, which all have a count, those that no row was answered with too.
    """
    statistics = []
    for name in observations[0]:
        # What only some rows have, such as one text or another kind of answer, is no share of all.
        if all(name in found for found in observations):
            values = [found[name] for found in observations]
            statistics.append(_counted(name, values, labels))
    return Reference(len(observations), tuple(statistics))


def _counted(
    name: str,
    values: Sequence[Any],
    labels: Sequence[str],
) -> Statistic:
    """A statistic of the values of all rows."""
    # 1. Its categories.
    first = values[0]
    names: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()
    if isinstance(first, int | float):
        kind = "ordered"
        edges = edges_of(values)
    else:
        kind = "one" if isinstance(first, str) else "several"
        names = _types(labels) if name == "entities" else tuple(labels)
    # 2. How many rows are in each.
    counts = np.zeros(len(names) or len(edges) + 1, np.int64)
    statistic = Statistic(name, kind, counts, names, edges)
    for value in values:
        for place in statistic.categories(value):
            counts[place] += 1
    return statistic


def _types(tags: Sequence[str]) -> tuple[str, ...]:
    """The types of entity that tags have; `O` is the tag of none."""
    types = {type_of(tag) for tag in tags if tag != OUTSIDE}
    return tuple(sorted(types))


def edges_of(values: Sequence[float]) -> tuple[float, ...]:
    """The edges of bins that hold about as many of the values each; one below all of them first."""
    most = max(1, len(values) // ROWS_OF_BIN)
    num_bins = min(MOST_BINS, most)
    shares = np.arange(1, num_bins + 1) / num_bins
    # Values that occur, not means of two: many rows may have the same, such as a length.
    quantiles = np.quantile(values, shares, method="inverted_cdf")
    # Each once, and in order.
    edges = np.unique(quantiles)
    below = round(min(values) - STEP, DIGITS)
    return (below, *edges.tolist())


def _statistic(content: Any, rows: int) -> Statistic:
    """One entry of `statistics`. Raises ValueError."""
    fault = ValueError(
        f"{FILE}: a statistic with a name, a kind ({', '.join(KINDS)}), names or edges, and as "
        "many counts was expected. Export the artifact again"
    )
    if not isinstance(content, dict):
        raise fault
    name, kind = content.get("name"), content.get("kind")
    if not isinstance(name, str) or kind not in KINDS:
        raise fault
    is_ordered = kind == "ordered"
    described = content.get("edges" if is_ordered else "names")
    counts = content.get("counts")
    wanted: Any = int | float if is_ordered else str
    if not _is_list_of(described, wanted):
        raise fault
    if not _is_list_of(counts, int) or not all(map(_is_count, counts)):
        raise fault
    # Bins are found by bisection, names by a table.
    distinct = set(described)
    if len(distinct) < len(described):
        raise fault
    if is_ordered and sorted(described) != described:
        raise fault
    # There is a bin on either side of an edge.
    if len(counts) != len(described) + is_ordered:
        raise fault
    most = max(counts) if kind == "several" else sum(counts)
    if most > rows:
        raise fault
    array = np.array(counts, np.int64)
    if is_ordered:
        return Statistic(name, kind, array, edges=tuple(described))
    return Statistic(name, kind, array, names=tuple(described))


def _is_list_of(value: Any, kind: Any) -> TypeGuard[list[Any]]:
    """Whether a value is a list, not empty, of plain data of one kind."""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(each, kind) for each in value)


def _is_count(value: Any) -> TypeGuard[int]:
    # To Python `true` is an int.
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return is_whole and value >= 0
