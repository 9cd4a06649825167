"""What a stage of a run costs, and several of them together."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """One stage of the run, all its arms and seeds together.

    stage: its title in the forecast.
    seconds: in all.
    peak_mb: the most that the process holds until then, as report.json has it.
    disk_mb: what the stage leaves in the cache.
    """

    stage: str
    seconds: float
    peak_mb: float
    disk_mb: float

    def to_json(self) -> dict[str, float]:
        """Its figures, as `limbeck check --json` prints them."""
        figures = {"seconds": self.seconds, "peak_mb": self.peak_mb, "disk_mb": self.disk_mb}
        return {name: round(value, 3) for name, value in figures.items()}


def summed(costs: Sequence[Cost]) -> Cost:
    """Several costs as one, under the first one's name."""
    return Cost(
        stage=costs[0].stage,
        seconds=sum(cost.seconds for cost in costs),
        # They come one after the other: the highest peak is that of all.
        peak_mb=max(cost.peak_mb for cost in costs),
        disk_mb=sum(cost.disk_mb for cost in costs),
    )


def by_stage(costs: Sequence[Cost]) -> list[Cost]:
    """One cost for each name, in the order in which the names came."""
    found: dict[str, list[Cost]] = {}
    for cost in costs:
        found.setdefault(cost.stage, []).append(cost)
    return [summed(each) for each in found.values()]
