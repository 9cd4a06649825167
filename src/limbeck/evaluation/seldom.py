"""What answers to seldom labels, that no test row shows, would move a metric by.

Of two rows of a label both may be right by chance where half of such rows are wrong; a mean over
labels, such as macro F1, stands on them all the same. Of what none of n rows shows, the score
interval of a share (Wilson, 1927) leaves t^2 / (n + t^2): as if t^2 rows of it had been missed
beside the n. So the metric is computed with t^2 rows more of each of three kinds:

    missed   rows of the label, answered otherwise
    found    rows of the label, answered so
    false    rows of other labels, answered so

Many such things may be unseen at once, but hardly all of them true: the likelihood of what was seen
falls with each, so that the largest alone counts (`score_interval.py`).

Shapes: N rows of one unit each, V labels, A numbers of added rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from limbeck.tasks import Scored, Task
from limbeck.tasks.likelihood import LIKELIHOODS, is_known

# Labels that are looked at, the most seldom ones: any other moves a mean over labels less.
MOST_LABELS = 10
# Rows of other labels that stand for all of them.
MOST_OTHERS = 100
# Events of each label: missed, found, false.
KINDS = 3
# Numbers of added rows; what lies between is drawn as a line. At 95 % it is 3.8 of many rows.
ADDED = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 25.0, 100.0])


@dataclass(frozen=True)
class Event:
    """Rows of one kind.

    `shows`: (of each row that might be of it; bool) whether it is. `added`: rows that stand for
    those to be added. `size`: how many rows count as one of them.
    """

    shows: np.ndarray
    added: Scored
    size: float


@dataclass(frozen=True)
class Unseen:
    """An event, by one metric. `moves`: (A) the change of the metric by `ADDED` rows. `shows`: of
    `Event`."""

    shows: np.ndarray
    moves: np.ndarray

    def move(self, t: float) -> float:
        """What is not ruled out at the quantile t >= 0, where no row shows it."""
        return float(np.interp(t**2, ADDED, self.moves))


def events_of(scored: Scored, task: Task, clusters: np.ndarray) -> list[Event]:
    """The events of the most seldom labels, in an order that hangs on the labels alone; none of
    sentences, and where labels are numbers. `clusters`: (N) as of `influences`."""
    likelihood = LIKELIHOODS[task.likelihood]
    has_one_unit = len(scored.labels) == len(scored.offsets) - 1
    num_labels = len(task.labels)
    if likelihood.labels_are_numbers or not has_one_unit or scored.logits.shape[1] != num_labels:
        return []
    # 1. (N, V) which rows have a label, and which are answered so.
    known = is_known(scored.labels)
    decided = task.decisions(scored)
    if scored.labels.ndim == 1:
        true = (scored.labels[:, None] == np.arange(num_labels)) & known[:, None]
        given = (decided[:, None] == np.arange(num_labels)) & known[:, None]
        known = np.broadcast_to(known[:, None], true.shape)
    else:
        true, given = (scored.labels > 0) & known, (decided > 0) & known
    # 2. The most seldom labels that stand in rows.
    counts = true.sum(0)
    there = np.flatnonzero((counts > 0) & (counts < known.sum(0)))
    chosen = there[np.argsort(counts[there], kind="stable")][:MOST_LABELS]
    found = []
    for label in chosen.tolist():
        own = np.flatnonzero(true[:, label])
        others = np.flatnonzero(known[:, label] & ~true[:, label])
        generator = np.random.default_rng(0)
        some = generator.choice(others, min(MOST_OTHERS, len(others)), replace=False)
        # Copies count as one, and one more of them as all.
        sizes = [len(rows) / len(np.unique(clusters[rows])) for rows in (own, others)]
        missed = answered(scored, own, label, is_given=False)
        right = answered(scored, own, label, is_given=True)
        false = answered(scored, some, label, is_given=True)
        found += [
            Event(~given[own, label], missed, sizes[0]),
            Event(given[own, label], right, sizes[0]),
            Event(given[others, label], false, sizes[1]),
        ]
    return found


def answered(scored: Scored, rows: np.ndarray, label: int, *, is_given: bool) -> Scored:
    """Some rows, answered with a label, or otherwise, by logits that are changed by two places."""
    logits = scored.logits[rows].copy()
    labels, offsets = scored.labels[rows], np.arange(len(rows) + 1)
    decided = None if scored.decided is None else scored.decided[rows].copy()
    if labels.ndim > 1:
        # Each of several labels is decided by itself, by the sign of its logit.
        size = np.abs(logits[:, label]) + np.finfo(logits.dtype).eps
        logits[:, label] = size if is_given else -size
        if decided is not None:
            decided[:, label] = is_given
        return Scored(logits, labels, offsets, decided)
    places = np.arange(len(rows))
    order = np.argsort(logits, axis=1, kind="stable")
    top, second = order[:, -1], order[:, -2]
    target = np.full(len(rows), label) if is_given else np.where(top == label, second, top)
    logits[places, top], logits[places, target] = logits[places, target], logits[places, top]
    return Scored(logits, labels, offsets, None if decided is None else target)


def moves_of(
    scored: Scored, task: Task, events: Sequence[Event], values: dict[str, float]
) -> dict[str, list[Unseen]]:
    """Of each metric what every event moves it by; `values`: the metrics as they were seen."""
    if not events:
        return {}
    statistics = task.statistics(scored)
    totals = statistics.sum(0)
    found: dict[str, list[Unseen]] = {name: [] for name in values}
    for event in events:
        one_more = task.statistics(event.added).mean(0) * event.size
        metrics = dict(task.metrics(totals + np.outer(ADDED, one_more)))
        metrics |= _ranked(scored, task, event)
        for name, value in values.items():
            moves = np.nan_to_num(metrics[name]) - value
            found[name].append(Unseen(event.shows, moves))
    return found


def _ranked(scored: Scored, task: Task, event: Event) -> dict[str, np.ndarray]:
    """(A) the metrics that hang on the order of all scores."""
    num_rows, num_added = len(scored.labels), len(event.added.labels)
    both = Scored(
        np.concatenate([scored.logits, event.added.logits]),
        np.concatenate([scored.labels, event.added.labels]),
        np.arange(num_rows + num_added + 1),
    )
    weights = np.ones((len(ADDED), num_rows + num_added))
    weights[:, num_rows:] = ADDED[:, None] * event.size / num_added
    return task.ranked(both, weights)


def mean_of(seeds: Sequence[Sequence[Unseen]]) -> list[Unseen]:
    """The events of the mean of several seeds: seen where any of them shows it."""
    found = []
    for each in zip(*seeds, strict=True):
        shows = np.any([event.shows for event in each], 0)
        moves = np.mean([event.moves for event in each], 0)
        found.append(replace(each[0], shows=shows, moves=moves))
    return found


def unseen_of_difference(one: Sequence[Unseen], other: Sequence[Unseen]) -> list[Unseen]:
    """What no row shows of one model that it does not show of the other, too, either way.

    A row of a label that one model finds and the other misses moves both: so many rows are found by
    the one, and missed by the other. Both models' events come by labels (`events_of`).
    """
    found = []
    for place in range(0, len(one), KINDS):
        missed, right, false = one[place : place + KINDS]
        other_missed, other_right, other_false = other[place : place + KINDS]
        if not (right.shows & other_missed.shows).any():
            found.append(replace(right, moves=right.moves - other_missed.moves))
        if not (missed.shows & other_right.shows).any():
            found.append(replace(missed, moves=missed.moves - other_right.moves))
        # A row of another label that one answers so moves that one alone.
        if not (false.shows & ~other_false.shows).any():
            found.append(false)
        if not (other_false.shows & ~false.shows).any():
            found.append(replace(other_false, moves=-other_false.moves))
    return found


def never_shown(events: Sequence[Unseen]) -> Iterator[Unseen]:
    """Those of one model's events that no row shows."""
    return (event for event in events if not event.shows.any())
