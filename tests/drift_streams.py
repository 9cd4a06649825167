"""Made-up streams of answered requests, with a label, a confidence and a length each, counted as a server counts them.

Counted in steps by numpy and not one by one (`Tally`), so that streams of 100,000 take seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from limbeck.evaluation.drift.reference import Reference, reference_of
from limbeck.evaluation.drift.tally import NUM_BUCKETS, num_counts, parts_of

STEP = 50


def shares_of(num_labels: int, exponent: float = 0.7) -> np.ndarray:
    """Shares of labels, the first the most frequent (Zipf); equal ones with the exponent 0."""
    shares = np.arange(1, num_labels + 1) ** -float(exponent)
    return shares / shares.sum()


@dataclass(frozen=True)
class World:
    """What requests are drawn from: the shares of labels (V), and what lengths are multiplied with."""

    shares: np.ndarray
    generator: np.random.Generator
    length: float = 1.0

    def draw(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels, confidences and lengths of so many requests."""
        labels = self.generator.choice(len(self.shares), count, p=self.shares)
        confidences = self.generator.beta(4, 1, count).round(6)
        lengths = np.rint(self.generator.lognormal(2.7, 0.5, count) * self.length)
        return labels, confidences, np.maximum(lengths, 3)

    def moved(self, mass: float, to: int) -> "World":
        """The world in which a part of all requests has gone over to one label."""
        rest = 1 - self.shares[to]
        shares = self.shares * (1 - mass / rest)
        shares[to] = self.shares[to] + mass
        return replace(self, shares=shares)

    def shortened(self) -> "World":
        """The world of texts half as long."""
        return replace(self, length=self.length / 2)


def reference_from(world: World, rows: int) -> Reference:
    """The reference of so many validation rows."""
    found = [
        {"label": str(label), "confidence": confidence, "length": length}
        for label, confidence, length in zip(
            *(each.tolist() for each in world.draw(rows)), strict=True
        )
    ]
    return reference_of(found, [str(label) for label in range(len(world.shares))])


def stream(
    reference: Reference, world: World, count: int, counts: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """The counts after every step of `count` more requests; one array, which grows."""
    if counts is None:
        counts = np.zeros(num_counts(reference), np.int64)
    labels, *numbers = world.draw(count)
    places = [labels]
    for statistic, values in zip(reference.statistics[1:], numbers, strict=True):
        places.append(np.searchsorted(statistic.edges, values))
    buckets = world.generator.integers(0, NUM_BUCKETS, count)
    for start in range(0, count, STEP):
        step = slice(start, start + STEP)
        for part, place in zip(parts_of(reference, counts), places, strict=True):
            np.add.at(part, place[step], 1)
        np.add.at(counts[-NUM_BUCKETS:], buckets[step], 1)
        counts[0] += len(labels[step])
        yield counts
