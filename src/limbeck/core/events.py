"""What a run is doing, as events: shown by `console`, or given to any callable in Python.

An event is a small dataclass whose text is its line.

**The time left** is counted in work, not in steps, since batches differ in length: a unit of work
is a padded token of a text, or an image. What is left of each kind of work is multiplied by the
seconds that a unit of that kind took so far. A kind that was not met yet (quantized steps before
`quantize.start`, validation in the first epoch) is taken at the pace of the others, times the ratio
of their COST.

Nothing here draws a random number: watching a run does not change it.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

REDRAWS_PER_SECOND = 10  # faster than this nobody reads

# Kinds of work.
STEP = "step"
QUANTIZED = "quantized step"
FORWARD = "forward"
VALIDATION = "validation"
SETUP = "setup"

# What a unit of each kind costs, relative to a forward pass; measured by benchmarks/step_cost.py.
COST = {
    STEP: 3.0,
    QUANTIZED: 3.9,
    FORWARD: 1.0,
    VALIDATION: 1.2,
    SETUP: 0.0,
}


@dataclass(frozen=True)
class Started:
    """A stage begins to compute."""

    stage: str

    def __str__(self) -> str:
        return f"{self.stage}: running"


@dataclass(frozen=True)
class Progress:
    """A stage goes on; told at most REDRAWS_PER_SECOND times a second.

    `step` of `steps`; `time_left_s` is None as long as nothing can be said; `epoch` is 0 where a
    stage has none. `losses` and `metrics` are the last known ones.
    """

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
        values = figures(self.losses) + figures(self.metrics)
        return f"  {epoch}{self.step}/{self.steps}{left}{values}"


@dataclass(frozen=True)
class EpochEnded:
    """An epoch of a training is over and validated."""

    epoch: int
    epochs: int
    losses: dict[str, float]
    metrics: dict[str, float]

    def __str__(self) -> str:
        losses = figures(self.losses)
        metrics = figures(self.metrics)
        return f"  epoch {self.epoch}/{self.epochs}{losses}  validation:{metrics}"


@dataclass(frozen=True)
class Ended:
    """A stage is there: computed in `seconds`, or found in the store (`reused`)."""

    stage: str
    seconds: float
    reused: bool = False

    def __str__(self) -> str:
        if self.reused:
            return f"{self.stage}: reused"
        return f"{self.stage}: done in {self.seconds:.1f} s"


@dataclass(frozen=True)
class Note:
    """Something worth a line."""

    text: str

    def __str__(self) -> str:
        return self.text


Event = Started | Progress | EpochEnded | Ended | Note
Reporter = Callable[[Event], None]

# What an event is called in JSON lines.
NAMES = {
    Started: "start",
    Progress: "progress",
    EpochEnded: "epoch",
    Ended: "end",
    Note: "note",
}


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


@dataclass
class Spent:
    """What a kind of work has taken so far."""

    seconds: float = 0.0
    units: float = 0.0
    times: int = 0


class Meter:
    """Counts work by kind, and says how long the rest takes.

    `work`: the units of each kind that are to be done. `clock`: seconds that only rise.
    """

    def __init__(
        self, work: Mapping[str, float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.left = dict(work)
        self.clock = clock
        self.spent: dict[str, Spent] = {}
        self.last = clock()  # when work was last reported
        self.shown = self.last

    def advance(self, kind: str, units: float) -> None:
        """Count `units` of `kind` as done since the last call."""
        now = self.clock()
        spent = self.spent.setdefault(kind, Spent())
        if spent.times == 1:
            # Forget the first of a kind: it also fills caches and allocates.
            spent.seconds = 0.0
            spent.units = 0.0
        spent.seconds += now - self.last
        spent.units += units
        spent.times += 1
        # SETUP is in no plan: it is counted only so that its seconds are nobody else's.
        self.left[kind] = self.left.get(kind, 0.0) - units
        self.last = now

    def due(self) -> bool:
        """Whether it is time to show something again."""
        if self.last - self.shown < 1 / REDRAWS_PER_SECOND:
            return False
        self.shown = self.last
        return True

    def time_left_s(self) -> float | None:
        """Seconds for what is left, to a tenth; None before anything was done."""
        measured = {kind: spent for kind, spent in self.spent.items() if spent.units}
        if not measured:
            return None
        # 1. The seconds for a unit of cost, over all that was done: for kinds not met yet.
        seconds = sum(spent.seconds for spent in measured.values())
        cost = sum(COST[kind] * spent.units for kind, spent in measured.items())
        seconds_per_cost = seconds / cost
        # 2. Each kind's rest at its own pace.
        total = 0.0
        for kind, units in self.left.items():
            if kind in measured:
                pace = measured[kind].seconds / measured[kind].units
            else:
                pace = COST[kind] * seconds_per_cost
            # More can be done than was planned, and takes nothing off the other kinds.
            total += max(0.0, units) * pace
        return round(total, 1)


def track(batches: Sequence[T], units: Callable[[T], float], tell: Reporter) -> Iterator[T]:
    """The batches of a pass without training, telling how far it is.

    `units`: what a batch costs (padded tokens, or rows).
    """
    meter = Meter({FORWARD: sum(map(units, batches))})
    for step, batch in enumerate(batches, 1):
        yield batch
        # The caller has asked for the next batch: it is done with this one.
        meter.advance(FORWARD, units(batch))
        if meter.due():
            tell(Progress(step, len(batches), meter.time_left_s()))
