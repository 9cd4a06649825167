"""Counts of answered requests, in an array that the caller gives: of a process's own, or a row of
memory that several processes share.

    [0]                     requests
    the categories          of each statistic of the reference, in its order
    the last `NUM_BUCKETS`  requests by the fingerprint of their input

Counts only grow. Whoever watches takes sums over processes, and differences over time; a process
that is started again goes on with the row that the one before left.

One writer to a row: an addition is no atomic operation. A reader may meet half a request, whose
other half the next look has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from limbeck.evaluation.drift.observing import Value, fingerprint, observed
from limbeck.evaluation.drift.reference import Reference, Statistic
from limbeck.sources import Row
from limbeck.tasks import Encoded
from limbeck.tasks.types import Answer, Array

# Inputs that differ share a bucket of 1024 once in a thousand pairs; one input that is sent again
# and again fills one bucket.
NUM_BUCKETS = 1024


def num_counts(reference: Reference) -> int:
    """The length of a row of counts, int64."""
    num_categories = sum(len(each.counts) for each in reference.statistics)
    # The first counts requests.
    return 1 + num_categories + NUM_BUCKETS


def parts_of(reference: Reference, counts: Array) -> list[Array]:
    """The counts of each statistic's categories, as views of a row of counts."""
    parts = []
    start = 1
    for statistic in reference.statistics:
        end = start + len(statistic.counts)
        parts.append(counts[start:end])
        start = end
    return parts


def with_counts(reference: Reference, counts: Array) -> Reference:
    """The same statistics with a row of counts in place of validation's: requests to hold others
    against."""
    parts = parts_of(reference, counts)
    statistics = [
        replace(statistic, counts=part)
        for statistic, part in zip(reference.statistics, parts, strict=True)
    ]
    return Reference(int(counts[0]), tuple(statistics))


@dataclass(frozen=True)
class Tally:
    """Counts requests into `counts` (`num_counts`; int64), which may hold earlier ones.

    Raises ValueError for an array of another length or type.
    """

    reference: Reference
    counts: Array

    def __post_init__(self) -> None:
        expected = (num_counts(self.reference),)
        is_whole = self.counts.dtype == np.int64
        if self.counts.shape != expected or not is_whole:
            raise ValueError(
                f"counts: an int64 array of shape {expected} is expected "
                f"(`num_counts(reference)`), not {self.counts.dtype} of {self.counts.shape}"
            )

    @cached_property
    def _parts(self) -> list[tuple[Statistic, memoryview]]:
        """Each statistic, with the view that takes its counts."""
        # Of a view of Python's one number is changed in a quarter of the time of numpy's.
        parts = parts_of(self.reference, self.counts)
        views = [part.data for part in parts]
        return list(zip(self.reference.statistics, views, strict=True))

    @cached_property
    def _buckets(self) -> memoryview:
        return self.counts[-NUM_BUCKETS:].data

    def add(
        self,
        row: Row,
        encoded: Encoded | None,
        answer: Answer,
    ) -> None:
        """Count one answered request; the arguments are those of `observing.observed`."""
        found = observed(row, encoded, answer)
        self.add_values(found, fingerprint(row))

    def add_values(
        self,
        found: Mapping[str, Value],
        input_number: int,
    ) -> None:
        """Count a request of which `found` was observed. `input_number`: its fingerprint."""
        for statistic, counts in self._parts:
            if statistic.name in found:
                for place in statistic.categories(found[statistic.name]):
                    counts[place] += 1
        bucket = input_number % NUM_BUCKETS
        self._buckets[bucket] += 1
        # Last, so that a reader never sees more requests than were counted.
        self.counts[0] += 1
