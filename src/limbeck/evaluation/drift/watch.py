"""Windows of requests, held against validation and against the requests before them, and an alarm
where they are too unlike.

Two windows slide over the requests: the last 500, which see a large change soon, and the last
5,000, which see a small one. Each moves by a tenth of itself, and every move is a look at every
statistic: at its index, and at each category by itself (`tables.py`); of an ordered statistic at
every bin with all below it, since a change moves values one way. A window is held against

    validation   are these requests what the artifact was judged by?
    earlier      are they as the requests before them, up to ten windows? This sees a change that
                 few rows of validation cannot show, and forgets: what stays was soon there before.

**The level.** An alarm is to be rare over a whole stream, not at one look: over `HORIZON` = 100,000
unshifted requests the chance of any alarm is at most `ALPHA` = 5 %. Each test gets its share of
that, over looks, windows, statistics and categories (Bonferroni). What is tested is exact at each
look whatever validation has drawn, and the sum over looks holds although windows overlap and all
share one validation. It is wasteful where validation has fewer rows than the window, and hardly
elsewhere: maxima of many nearly independent normal values are what Bonferroni says.

Considered and left out: e-detectors (Shin, Ramdas and Rinaldo, 2022, arXiv 2203.03532) and
conformal test martingales (Vovk et al., 2021, arXiv 2102.10439) are as exact, and look at every
request. Of two binomials theirs wants 5.4 standard errors where this wants 4.7; and what bets on
requests one by one needs an order of those of several processes. A null simulated from a posterior
of the shares gains a fifth where 200 rows meet 5,000, and needs a prior of labels that validation
never had.

An alarm says that requests are unlike; nights, bursts and one client are as unlike as a changed
world.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from limbeck.evaluation.bootstrap import ALPHA
from limbeck.evaluation.drift.reference import Reference, Statistic
from limbeck.evaluation.drift.tables import (
    index_by_chance,
    index_limit,
    log_p_of_categories,
    stability_index,
)
from limbeck.evaluation.drift.tally import NUM_BUCKETS, num_counts, parts_of, with_counts
from limbeck.tasks.types import Array

SIZES = (500, 5_000)
# What a window is held against.
VALIDATION = "validation"
EARLIER = "earlier"
AGAINST = (VALIDATION, EARLIER)
# How often a window moves before all of it is new.
MOVES = 10
# Windows that "earlier" holds: of more, the errors of the window itself are all that is left.
EARLIER_WINDOWS = 10
HORIZON = 100_000
# Of a window, from which on one input that is sent again and again is told.
OFTEN = 0.05


@dataclass(frozen=True)
class Finding:
    """What one statistic is in a window, held against a reference.

    index: the population stability index; None for several labels, whose counts are not shares of
        one whole.
    by_chance, limit: what it is on average, and what it stays under, where nothing has changed;
        None where the categories alone are tested.
    category: the one that changed most, in words; `share` of the window's requests and
        `of_reference`'s that have it.
    p: of that category, corrected for all that is looked at in a stream of `HORIZON` requests.
    is_shifted: whether either is beyond chance.
    """

    statistic: str
    index: float | None
    by_chance: float | None
    limit: float | None
    category: str
    share: float
    of_reference: float
    p: float
    is_shifted: bool


@dataclass(frozen=True)
class Look:
    """A window after a move, held `against` validation or earlier requests, of which there are
    `rows`.

    size, requests: how many it is to hold, and holds: more where they came faster than looks.
    repeated: the share of its requests that are one input, as far as fingerprints tell.
    """

    size: int
    against: str
    rows: int
    requests: int
    repeated: float
    findings: tuple[Finding, ...]

    @property
    def is_shifted(self) -> bool:
        """Whether any statistic is beyond chance."""
        return any(finding.is_shifted for finding in self.findings)

    def in_words(self) -> str:
        """What has shifted, for a log; nothing where nothing has."""
        parts = [_in_words(finding) for finding in self.findings if finding.is_shifted]
        if not parts:
            return ""
        reference = f"the {self.rows:,} before them"
        if self.against == VALIDATION:
            reference = f"the {self.rows:,} rows of validation"
        told = f"the last {self.requests:,} requests are unlike {reference}: {'; '.join(parts)}"
        if self.repeated >= OFTEN:
            told += f". {self.repeated:.0%} of them are one input (a health check?)"
        return told


@dataclass
class _Window:
    """A window that slides over counts that only grow, by snapshots of them."""

    size: int
    snapshots: deque[Array] = field(default_factory=deque)

    def move(self, counts: Array) -> tuple[Array, Array] | None:
        """What the window holds after a move, and what stands before it; None where it is not due
        or not full."""
        if not self.snapshots:
            # Who begins to look late, as a process that was started again, begins with what comes:
            # millions of requests in one window would say little, and take long.
            is_late = counts[0] > self.size * EARLIER_WINDOWS
            self.snapshots.append(counts.copy() if is_late else np.zeros_like(counts))
        newer = counts[0] - self.snapshots[-1][0]
        if newer < self.size / MOVES:
            return None
        self.snapshots.append(counts.copy())
        start = self._latest_start(self.size)
        if start is None:
            return None
        before = self.snapshots[start]
        held = counts - before
        # Older ones than the last that is enough serve nobody any more.
        oldest = self._latest_start(int(held[0]) * (1 + EARLIER_WINDOWS)) or 0
        first = self.snapshots[oldest]
        for _ in range(oldest):
            self.snapshots.popleft()
        return held, before - first

    def _latest_start(self, least: int) -> int | None:
        """The place of the latest snapshot since which there were `least` requests."""
        latest = self.snapshots[-1][0]
        for place in reversed(range(len(self.snapshots))):
            since = latest - self.snapshots[place][0]
            if since >= least:
                return place
        return None


@dataclass
class Watch:
    """Watches the requests of one artifact, of all processes together.

    `alarms`: how often requests became unlike validation, or unlike those before them. Either
    lasts until nothing was found for as many requests as the longest window holds, so that what is
    at the edge of a limit is told once. Where both begin in one window, they are one alarm.
    """

    reference: Reference
    alarms: int = 0
    _windows: tuple[_Window, ...] = field(
        default_factory=lambda: tuple(_Window(size) for size in SIZES)
    )
    # By what it was held against, and by the size of the window.
    _latest: dict[tuple[str, int], Look] = field(default_factory=dict)
    # By what it was held against: the requests before the last look that was shifted.
    _shifted_at: dict[str, int] = field(default_factory=dict)
    _requests: int = 0
    _begun_at: int = -SIZES[-1]

    @property
    def looks(self) -> list[Look]:
        """The latest look of each window that is full, against validation first."""
        keys = [(against, size) for against in AGAINST for size in SIZES]
        return [self._latest[key] for key in keys if key in self._latest]

    @property
    def state(self) -> dict[str, Any]:
        """What another watch is told to `go_on`, as plain data."""
        return {
            "alarms": self.alarms,
            "shifted_at": dict(self._shifted_at),
            "begun_at": self._begun_at,
        }

    def go_on(self, counts: Array, state: Mapping[str, Any]) -> None:
        """Go on for the watch of a process that ended: its alarms stay told, and windows begin
        with the requests after these `counts`.

        state: of that watch (`state`).
        """
        self.alarms = state["alarms"]
        self._shifted_at = dict(state["shifted_at"])
        self._begun_at = state["begun_at"]
        for window in self._windows:
            window.snapshots.append(counts.copy())

    def is_shifted(self, against: str) -> bool:
        """Whether an alarm is on that requests are unlike `validation`, or unlike `earlier`."""
        shifted_at = self._shifted_at.get(against)
        if shifted_at is None:
            return False
        return self._requests - shifted_at < SIZES[-1]

    def look(self, counts: Array) -> list[str]:
        """Look at the counts so far, as often as one likes; windows move where they are due.

        counts: the sum of the rows of all processes (`tally.num_counts`; int64), which only grow.

        Returns what to log: a line where an alarm begins, else nothing. Raises ValueError for
        counts of another length, and where they have become fewer: a process began again with an
        empty row.
        """
        expected = num_counts(self.reference)
        if counts.shape != (expected,):
            raise ValueError(f"counts: {expected} are expected, not an array of {counts.shape}")
        self._requests = int(counts[0])
        was_shifted = {against: self.is_shifted(against) for against in AGAINST}
        told: dict[str, Look] = {}
        for look in self._moved(counts):
            self._latest[look.against, look.size] = look
            if look.is_shifted:
                self._shifted_at[look.against] = self._requests
                told.setdefault(look.against, look)
        begun = [told[against] for against in told if not was_shifted[against]]
        # A window that is unlike validation is mostly unlike the requests before it, too.
        since = self._requests - self._begun_at
        lines = [look.in_words() for look in begun if since >= look.size]
        if not lines:
            return []
        self._begun_at = self._requests
        self.alarms += 1
        return lines[:1]

    def _moved(self, counts: Array) -> Iterator[Look]:
        """The looks of the windows that move."""
        for window in self._windows:
            moved = window.move(counts)
            if moved is None:
                continue
            held, before = moved
            if min(held.min(), before.min()) < 0:
                raise ValueError(
                    "counts have become fewer. A process that begins again keeps its row, and a "
                    "new artifact has a new `Watch`"
                )
            yield look_at(self.reference, held, window.size, VALIDATION)
            # Of fewer requests than the window has it would say little.
            if before[0] >= window.size:
                earlier = with_counts(self.reference, before)
                yield look_at(earlier, held, window.size, EARLIER)


def look_at(
    reference: Reference,
    held: Array,
    size: int,
    against: str = VALIDATION,
) -> Look:
    """What each statistic is in a window.

    Args:
        reference: the counts that it is held against, and `against`: whose they are.
        held: its own counts (`tally.num_counts`).
        size: how many requests it is to hold, by which it moves.
    """
    requests = int(held[0])
    tests = sum(_num_tests(statistic) for statistic in reference.statistics)
    moves = HORIZON / size * MOVES
    num_looks = len(AGAINST) * len(SIZES) * moves
    # What the p value of one test of one look is multiplied with.
    log_tests = math.log(tests * num_looks)
    findings = []
    parts = parts_of(reference, held)
    for statistic, counts in zip(reference.statistics, parts, strict=True):
        # The reader may have met half of a request.
        total = int(counts.sum())
        n = int(statistic.counts.sum())
        # Of which a row has several, the counts are not of rows.
        if statistic.kind == "several":
            total, n = requests, reference.rows
        if total and n:
            findings.append(_finding(statistic, n, counts, total, log_tests))
    most_of_one = int(held[-NUM_BUCKETS:].max())
    return Look(
        size=size,
        against=against,
        rows=reference.rows,
        requests=requests,
        repeated=most_of_one / requests,
        findings=tuple(findings),
    )


def _finding(
    statistic: Statistic,
    n: int,
    counts: Array,
    total: int,
    log_tests: float,
) -> Finding:
    """What a statistic is in a window; `n` and `total`: rows of the reference and of the window."""
    # 1. Each category by itself.
    of_reference = _tested(statistic, statistic.counts)
    of_window = _tested(statistic, counts)
    # Half of a request may have been met.
    of_reference = np.minimum(of_reference, n)
    of_window = np.minimum(of_window, total)
    log_p = log_p_of_categories(of_reference, n, of_window, total)
    place = int(log_p.argmin())
    log_corrected = float(log_p[place]) + log_tests + math.log(len(log_p))
    # A probability, however much is looked at.
    log_corrected = min(0.0, log_corrected)
    # 2. All together.
    index: float | None = None
    by_chance: float | None = None
    limit: float | None = None
    if statistic.kind != "several":
        index = stability_index(statistic.counts, counts)
    if _num_tests(statistic) > 1:
        by_chance, variance = index_by_chance(statistic.counts, counts)
        limit = index_limit(by_chance, variance, math.log(ALPHA) - log_tests)
    # 3. Either is enough, each at its own part of the level.
    is_beyond = log_corrected <= math.log(ALPHA)
    return Finding(
        statistic=statistic.name,
        index=index,
        by_chance=by_chance,
        limit=limit,
        category=statistic.told(place),
        share=float(of_window[place]) / total,
        of_reference=float(of_reference[place]) / n,
        p=math.exp(log_corrected),
        is_shifted=is_beyond or _is_above(index, limit),
    )


def _tested(statistic: Statistic, counts: Array) -> Array:
    """The counts of what is tested by itself: categories, or bins with all below them."""
    if statistic.kind == "ordered":
        # The last holds all that there is.
        return np.cumsum(counts)[:-1]
    # Of two labels the second says what the first does.
    if statistic.kind == "one" and len(counts) == 2:
        return counts[:1]
    return counts


def _num_tests(statistic: Statistic) -> int:
    """How many tests a statistic has: its categories, and its index where that says more."""
    # Of two labels the index says what the one says.
    has_index = len(statistic.counts) > 2
    if statistic.kind == "several":
        has_index = False
    return 2 if has_index else 1


def _is_above(index: float | None, limit: float | None) -> bool:
    """Whether an index is above its limit; one without a limit is not tested."""
    return index is not None and limit is not None and index > limit


def _in_words(finding: Finding) -> str:
    """A shifted statistic, for a log."""
    told = f"{finding.category} {finding.share:.1%} (before {finding.of_reference:.1%})"
    if _is_above(finding.index, finding.limit):
        told += (
            f", {finding.statistic} index {finding.index:.2f} (by chance {finding.by_chance:.2f}, "
            f"at most {finding.limit:.2f})"
        )
    return told
