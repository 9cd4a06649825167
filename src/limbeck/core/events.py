"""What a run is doing, as events: a live line on a terminal, JSON lines elsewhere, any callable in Python. Torch-free.

An event is a small dataclass whose text is its line. The time left is counted in work (padded tokens, or rows), not in steps, since batches
differ in length: what is left of each kind of work times the seconds that a unit of it took so far. A kind not met yet (quantized steps before
`quantize.start`, validation in the first epoch) is taken at the pace of the others times the ratio of COST. Nothing here draws a random number.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")
REDRAWS_PER_SECOND = 10
STEP, QUANTIZED, FORWARD, VALIDATION, SETUP = (
    "step",
    "quantized step",
    "forward",
    "validation",
    "setup",
)
COST = {
    STEP: 3.0,
    QUANTIZED: 3.9,
    FORWARD: 1.0,
    VALIDATION: 1.2,
    SETUP: 0.0,
}  # a unit's, relative; measured by benchmarks/step_cost.py


@dataclass(frozen=True)
class Started:
    """A stage begins to compute."""

    stage: str

    def __str__(self) -> str:
        return f"{self.stage}: running"


@dataclass(frozen=True)
class Progress:
    """A stage goes on; at most REDRAWS_PER_SECOND of these. `losses` and `metrics` are the last known ones; epoch 0 where there are none."""

    step: int
    steps: int
    time_left_s: float | None
    epoch: int = 0
    epochs: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        epoch = f"epoch {self.epoch}/{self.epochs}  " if self.epochs else ""
        left = "" if self.time_left_s is None else f"  {duration(self.time_left_s)} left"
        return (
            f"  {epoch}{self.step}/{self.steps}{left}{figures(self.losses)}{figures(self.metrics)}"
        )


@dataclass(frozen=True)
class EpochEnded:
    """An epoch of a training is over and validated."""

    epoch: int
    epochs: int
    losses: dict[str, float]
    metrics: dict[str, float]

    def __str__(self) -> str:
        return f"  epoch {self.epoch}/{self.epochs}{figures(self.losses)}  validation:{figures(self.metrics)}"


@dataclass(frozen=True)
class Ended:
    """A stage is there: computed in `seconds`, or found in the store."""

    stage: str
    seconds: float
    reused: bool = False

    def __str__(self) -> str:
        return (
            f"{self.stage}: reused"
            if self.reused
            else f"{self.stage}: done in {self.seconds:.1f} s"
        )


@dataclass(frozen=True)
class Note:
    """Something worth a line."""

    text: str

    def __str__(self) -> str:
        return self.text


Event = Started | Progress | EpochEnded | Ended | Note
Tell = Callable[[Event], None]
NAMES = {Started: "start", Progress: "progress", EpochEnded: "epoch", Ended: "end", Note: "note"}


def silent(event: Event) -> None:
    """Tell nobody."""


def figures(values: Mapping[str, float]) -> str:
    """'  kl 0.1234  total 0.5678'."""
    return "".join(f"  {name} {value:.4f}" for name, value in values.items())


def duration(seconds: float) -> str:
    """'8 s', '3 min 20 s', '2 h 05 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


class Meter:
    """Counts work by kind, and says how long the rest takes. `work`: the units of each kind to be done."""

    def __init__(
        self, work: Mapping[str, float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.left = dict(work)
        self.clock = clock
        self.spent: dict[str, tuple[float, float, int]] = {}  # kind: seconds, units, times
        self.last = self.shown = clock()

    def advance(self, kind: str, units: float) -> None:
        """`units` of `kind` were done since the last call."""
        now = self.clock()
        seconds, done, times = self.spent.get(kind, (0.0, 0.0, 0))
        if times == 1:  # the first of a kind also fills caches and allocates
            seconds = done = 0.0
        self.spent[kind] = (seconds + now - self.last, done + units, times + 1)
        self.left[kind] = self.left.get(kind, 0.0) - units
        self.last = now

    def due(self) -> bool:
        """Whether it is time to show something again."""
        if self.last - self.shown < 1 / REDRAWS_PER_SECOND:
            return False
        self.shown = self.last
        return True

    def time_left_s(self) -> float | None:
        """Seconds for what is left; None before anything was done."""
        paces = {kind: seconds / units for kind, (seconds, units, _) in self.spent.items() if units}
        if not paces:
            return None
        measured = [self.spent[kind] for kind in paces]
        unit_cost = sum(seconds for seconds, _, _ in measured) / sum(
            COST[kind] * self.spent[kind][1] for kind in paces
        )
        return round(
            sum(
                max(0.0, left) * paces.get(kind, COST[kind] * unit_cost)
                for kind, left in self.left.items()
            ),
            1,
        )


def track(batches: Sequence[T], units: Callable[[T], float], tell: Tell) -> Iterator[T]:
    """The batches of a pass without training, telling how far it is."""
    meter = Meter({FORWARD: sum(map(units, batches))})
    for step, batch in enumerate(batches, 1):
        yield batch
        meter.advance(FORWARD, units(batch))
        if meter.due():
            tell(Progress(step, len(batches), meter.time_left_s()))
