"""How sure a metric is of a model, and a difference of two models, by the means that suit it best.

    a share of right rows, one seed     Wilson's and Tango's score intervals, where no rows repeat
    any other metric, several seeds     the score interval of influences, and what seeds add

Both models are judged on the same rows, so that what is hard for both cancels. Arms of several
seeds are compared seed by seed: a seed is the same draw of rows and weights in both.

Shapes: N rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist
from typing import Protocol

import numpy as np

from limbeck.evaluation import paired
from limbeck.evaluation.bootstrap import ALPHA
from limbeck.evaluation.influence import Influence, influences
from limbeck.evaluation.score_interval import Estimate
from limbeck.evaluation.seldom import mean_of, never_shown, unseen_of_difference
from limbeck.tasks import OverVocabulary, Scored, Task
from limbeck.tasks.likelihood import is_known
from limbeck.tasks.metrics import bounds, sign


class Difference(Protocol):
    """A difference of two models that is not known for certain; more is in favour of the first."""

    @property
    def test(self) -> str:
        """The name of the test."""
        ...

    @property
    def value(self) -> float:
        """As it was seen."""
        ...

    @property
    def seen(self) -> str:
        """What the number of rows that a proof needs hangs on, in words."""
        ...

    def interval(self) -> list[float]:
        """The two ends of its 95 % interval."""
        ...

    def p_at_least(self, value: float) -> float:
        """The p value of "it is `value` or more", one-sided."""
        ...

    def p_at_most(self, value: float) -> float:
        """The p value of "it is `value` or less", one-sided."""
        ...

    def rows_to_prove(self, margin: float) -> int:
        """How many rows would rule out `margin` with a power of 80 %, were the truth 0."""
        ...


@dataclass(frozen=True)
class Answers:
    """One arm's answers to the test rows, judged by one metric, seed by seed.

    `seeds`: of each one the influence of the rows. `right`: of each one (N) whether a row is right,
    where the metric is their share; else nothing. `sign`: -1 for a metric of which less is better.
    `sizes`: how many rows each of those that count is; nothing where each is one.
    """

    seeds: Sequence[Influence]
    right: Sequence[np.ndarray] = ()
    sign: int = 1
    sizes: Sequence[int] = ()

    @property
    def has_copies(self) -> bool:
        """Whether some rows count as one."""
        return any(size > 1 for size in self.sizes)

    @property
    def are_uneven(self) -> bool:
        """Whether some count as more rows than others."""
        return len(set(self.sizes)) > 1

    @property
    def value(self) -> float:
        """The mean of the seeds, signed so that more is better."""
        return self.sign * float(np.mean([seed.value for seed in self.seeds]))

    @property
    def level(self) -> float:
        """The mean of the seeds as the metric has it; it may be below 0, as a correlation is."""
        return self.sign * self.value

    @property
    def num_rows(self) -> int:
        """N, or how many of them count."""
        return self.seeds[0].num_rows


@dataclass(frozen=True)
class Judged:
    """One arm's answers to the test rows, by every metric of the task, seed by seed.

    `clusters`: (N) as of `influences`: rows of one number count as one. None: each by itself.
    """

    seeds: Sequence[Scored]
    task: Task
    clusters: np.ndarray | None = None

    @cached_property
    def influences(self) -> list[dict[str, Influence]]:
        """Of each seed the influence of the rows on every metric."""
        return [influences(scored, self.task, self.clusters) for scored in self.seeds]

    @cached_property
    def sizes(self) -> list[int]:
        """How many rows each of those that count is; nothing where each is one."""
        if self.clusters is None:
            return []
        sizes: list[int] = np.unique(self.clusters, return_counts=True)[1].tolist()
        return sizes

    def by(self, metric: str) -> Answers:
        """The same, by one metric."""
        of_seeds = [of_seed[metric] for of_seed in self.influences]
        own = Answers(of_seeds, sign=sign(metric), sizes=self.sizes)
        # The tests of shares take their rows for independent.
        if own.has_copies:
            return own
        right = [right_rows(scored, self.task, metric) for scored in self.seeds]
        return replace(own, right=[each for each in right if each is not None])

    def intervals(self) -> dict[str, list[float] | None]:
        """The 95 % interval of the mean over seeds of every metric; None where it is undefined."""
        found: dict[str, list[float] | None] = {}
        for metric in self.influences[0]:
            own = self.by(metric)
            is_defined = all(seed.is_defined for seed in own.seeds)
            found[metric] = level_interval(own, metric) if is_defined else None
        return found


def right_rows(scored: Scored, task: Task, metric: str) -> np.ndarray | None:
    """(N) whether each row with a known label is right, where `metric` is the share of these; None
    for another metric, and for rows of several units."""
    has_one_label = len(scored.labels) == len(scored.offsets) - 1
    if metric != paired.METRIC or not has_one_label or isinstance(task, OverVocabulary):
        return None
    known = is_known(scored.labels)
    return (task.decisions(scored) == scored.labels)[known]


def level_interval(own: Answers, metric: str) -> list[float]:
    """The 95 % interval of the mean of a metric over seeds, within what the metric can be."""
    if len(own.right) == 1:
        return wilson(int(own.right[0].sum()), len(own.right[0]))
    mean = _mean(own.seeds)
    changes = mean.blind - mean.again
    estimate = Estimate(
        value=mean.value,
        rows=mean.rows,
        rise=_jump(changes, mean.blind),
        fall=_jump(-changes, -mean.blind),
        num_rows=mean.num_rows,
        seeds=[seed.value for seed in own.seeds],
        unseen=list(never_shown(mean.events)),
        are_uneven=own.are_uneven,
    )
    low, high = estimate.interval()
    least, most = bounds(metric)
    return [max(low, least), min(high, most)]


def wilson(hits: int, rows: int) -> list[float]:
    """The 95 % score interval of a share (Wilson, 1927, JASA 22, 209-212)."""
    z = NormalDist().inv_cdf(1 - ALPHA / 2)
    middle = (hits + z * z / 2) / (rows + z * z)
    half = z / (rows + z * z) * math.sqrt(hits * (rows - hits) / rows + z * z / 4)
    return [max(0.0, middle - half), min(1.0, middle + half)]


def difference(first: Answers, second: Answers) -> Difference:
    """By how much the first is better than the second."""
    if len(first.right) == 1 and len(second.right) == 1:
        return ShareDifference(paired.changes_of(first.right[0], second.right[0]))
    pairs = _pairs(first.seeds, second.seeds)
    one, other = _mean([pair[0] for pair in pairs]), _mean([pair[1] for pair in pairs])
    # What one row would do that only one of the two answers otherwise: as it is answered by the
    # first, blindly by the second, and the other way round.
    losing, winning = one.again - other.blind, one.blind - other.again
    unchanged = one.again - other.again
    jumps = np.concatenate([losing, winning])
    changes = jumps - np.concatenate([unchanged, unchanged])
    estimate = Estimate(
        value=one.value - other.value,
        rows=one.rows - other.rows,
        rise=_jump(changes, jumps),
        fall=_jump(-changes, -jumps),
        num_rows=one.num_rows,
        seeds=[a.value - b.value for a, b in pairs],
        unseen=unseen_of_difference(one.events, other.events),
        are_uneven=first.are_uneven or second.are_uneven,
    )
    return MetricDifference(estimate if first.sign > 0 else estimate.mirrored)


@dataclass(frozen=True)
class ShareDifference:
    """Of shares of right rows, by Tango's score test; `lost`: right by the first alone."""

    changed: paired.Changes
    test: str = "Tango's score test"

    @property
    def value(self) -> float:
        return (self.changed.lost - self.changed.won) / self.changed.rows

    @property
    def seen(self) -> str:
        return f"with {self.changed.lost + self.changed.won:,} answered otherwise"

    def interval(self) -> list[float]:
        return paired.interval(self.changed)

    def p_at_least(self, value: float) -> float:
        return paired.p_of_larger_drop(self.changed, value)

    def p_at_most(self, value: float) -> float:
        return paired.p_of_larger_drop(self.changed.swapped, -value)

    def rows_to_prove(self, margin: float) -> int:
        return paired.rows_to_prove(self.changed, margin, ALPHA)


@dataclass(frozen=True)
class MetricDifference:
    """Of any metric, by the score test of influences, over all seeds."""

    estimate: Estimate
    test: str = "score test of influences"

    @property
    def value(self) -> float:
        return self.estimate.value

    @property
    def seen(self) -> str:
        return f"with a standard error of {self.estimate.error:.4f}"

    def interval(self) -> list[float]:
        return self.estimate.interval()

    def p_at_least(self, value: float) -> float:
        return self.estimate.p_at_least(value)

    def p_at_most(self, value: float) -> float:
        return self.estimate.mirrored.p_at_least(-value)

    def rows_to_prove(self, margin: float) -> int:
        return self.estimate.rows_to_prove(margin)


def _mean(seeds: Sequence[Influence]) -> Influence:
    """The influence on the mean of the seeds; a row that changes does so for all of them."""
    return Influence(
        value=float(np.mean([seed.value for seed in seeds])),
        rows=np.mean([seed.rows for seed in seeds], 0),
        again=np.mean([seed.again for seed in seeds], 0),
        blind=np.mean([seed.blind for seed in seeds], 0),
        num_rows=seeds[0].num_rows,
        events=mean_of([seed.events for seed in seeds]),
    )


def _pairs(
    first: Sequence[Influence],
    second: Sequence[Influence],
) -> list[tuple[Influence, Influence]]:
    """Seed by seed; an arm of one, such as the teacher, beside every seed of the other."""
    if len(first) == 1:
        first = [first[0]] * len(second)
    if len(second) == 1:
        second = [second[0]] * len(first)
    return list(zip(first, second, strict=True))


def _jump(changes: np.ndarray, jumps: np.ndarray) -> float:
    """How far a change that was not seen would move the metric upwards.

    The mean of `jumps` weighted by the size of the upward `changes`: as of rare events of several
    sizes the variance is that of events of one size, E[x^2] / E[x].
    """
    upward = np.maximum(changes, 0)
    total = float(upward.sum())
    return max(0.0, float(upward @ jumps) / total) if total > 0 else 0.0
