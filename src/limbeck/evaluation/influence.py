"""How much each test row moves a metric: the jackknife (Efron and Tibshirani, 1993, An Introduction
to the Bootstrap, chapter 11), and what a change that no row shows would move.

    influence of row i:  (N - 1) (metric of all rows - metric without row i)
    one more row:        (N + 1) (metric with it - metric of all rows)

Rows are sentences for tagging, never words; rows that count as one (copies of an input, those of
one patient) are left out and added together. Of many rows blocks are left out, drawn by chance, so
that a million rows cost a thousand evaluations. A metric that a removal leaves undefined stands on
these rows alone; it counts as 0 there, as beside others (`scores.py`), which makes it as unsure as
it is.

Shapes: N rows, G blocks of them (single rows where there are few), H rows that are drawn, M of
these and their copies, P units.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from limbeck.evaluation.scores import told_quality
from limbeck.evaluation.seldom import Unseen, events_of, moves_of
from limbeck.tasks import Scored, Task

# The variance from so many blocks is off by 4 % at most in 95 % of all cases.
MOST_BLOCKS = 1000
# Rows whose change is tried.
MOST_TRIED = 100
# Weights that are held at once: 160 MB.
MOST_NUMBERS = 20_000_000


@dataclass(frozen=True)
class Influence:
    """Of the rows on one metric of one model's answers.

    `value`: the metric; 0 where it is undefined. `rows`: (G) influences, about their mean.
    `again`: (H) of one more row like one of the split, and `blind`: (H) of the same row, answered
    by one that does not see it. `num_rows`: N. `is_defined`: whether the metric is. `events`: what
    may become of seldom labels (`seldom.py`).
    """

    value: float
    rows: np.ndarray
    again: np.ndarray
    blind: np.ndarray
    num_rows: int
    is_defined: bool = True
    events: Sequence[Unseen] = ()


@dataclass(frozen=True)
class Parts:
    """Which rows are left out together, and which are added.

    `block_of_row`: (N) the block that a row is left out with. `place_of_row`: (N) which of the H
    added rows a row is, or is a copy of; -1 for none. `guessed`: the added rows, answered blindly,
    and `place_of_guess`: which of the H each of them is.
    """

    block_of_row: np.ndarray
    place_of_row: np.ndarray
    guessed: Scored
    place_of_guess: np.ndarray

    @property
    def num_blocks(self) -> int:
        """G."""
        return int(self.block_of_row.max()) + 1

    @property
    def num_tried(self) -> int:
        """H."""
        return int(self.place_of_row.max()) + 1


def influences(
    scored: Scored, task: Task, clusters: np.ndarray | None = None
) -> dict[str, Influence]:
    """The influence of the rows on every metric of the task.

    `clusters`: (N) a number for each row, from 0 on, the same for rows that count as one, such as
    copies of an input; N of the formulas is then how many of these there are. None: each by itself.
    """
    if clusters is None:
        clusters = np.arange(len(scored.offsets) - 1)
    num_clusters = int(clusters.max()) + 1
    order = np.random.default_rng(0).permutation(num_clusters)
    # The order of a file may be that of its labels: blocks of it would not be alike.
    block_of_cluster = np.empty(num_clusters, np.int64)
    block_of_cluster[order] = np.arange(num_clusters) % MOST_BLOCKS
    place_of_cluster = np.full(num_clusters, -1)
    place_of_cluster[order[:MOST_TRIED]] = np.arange(min(MOST_TRIED, num_clusters))
    place_of_row = place_of_cluster[clusters]
    # The rows that are tried, those of a cluster one after the other.
    tried = np.argsort(place_of_row, kind="stable")[(place_of_row < 0).sum() :]
    place_of_guess = place_of_row[tried]
    guessed = blind(scored, tried, place_of_guess)
    parts = Parts(block_of_cluster[clusters], place_of_row, guessed, place_of_guess)
    moved = _by_totals(scored, task, parts) | _by_order(scored, task, parts)
    known = told_quality(scored, task)
    found = {name: _influence(value, moved[name], num_clusters) for name, value in known.items()}
    values = {name: each.value for name, each in found.items()}
    events = moves_of(scored, task, events_of(scored, task, clusters), values)
    return {name: replace(each, events=events.get(name, ())) for name, each in found.items()}


def blind(scored: Scored, rows: np.ndarray, places: np.ndarray) -> Scored:
    """Some rows (M), answered by a model that does not see them: with the logits of other units.

    Rows of one of the rising `places` (M), such as copies, are answered alike, as by any model.
    Where all units have the same logits, these are turned by one label, so that they differ.
    """
    units = [np.arange(scored.offsets[row], scored.offsets[row + 1]) for row in rows]
    # 1. Units of other places for the first row of each place.
    firsts = [units[index] for index in np.flatnonzero(np.diff(places, prepend=-1))]
    drawn = np.random.default_rng(0).permutation(np.concatenate(firsts))
    others_of_place = np.split(drawn, np.cumsum([len(each) for each in firsts])[:-1])
    # 2. The same for its other rows.
    others_of_row = []
    for own_units, place in zip(units, places, strict=True):
        others_of_row.append(np.resize(others_of_place[place], len(own_units)))
    own, others = np.concatenate(units), np.concatenate(others_of_row)
    logits = scored.logits[others]
    decided = None if scored.decided is None else scored.decided[others]
    if np.array_equal(logits, scored.logits[own]):
        logits, decided = np.roll(logits, 1, axis=1), None
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in units])])
    return Scored(logits, scored.labels[own], offsets, decided)


# Of a metric, its values without each block (G), and with one more row (H), again and blind.
Moved = tuple[np.ndarray, np.ndarray, np.ndarray]


def _influence(known: float | None, moved: Moved, num_rows: int) -> Influence:
    """From the values of the metric to influences; `known`: None where it is undefined."""
    value = known or 0.0
    without, again, blind_values = (np.nan_to_num(each) for each in moved)
    num_blocks = len(without)
    rows = (num_blocks - 1) * (value - without)
    # A row of N has in a block of G the weight of G / N rows: see `rows` of a block.
    of_one_more = (num_rows + 1) * num_blocks / num_rows
    return Influence(
        value=value,
        rows=rows - rows.mean(),
        again=of_one_more * (again - value),
        blind=of_one_more * (blind_values - value),
        num_rows=num_rows,
        is_defined=known is not None,
    )


def _by_totals(scored: Scored, task: Task, parts: Parts) -> dict[str, Moved]:
    """The metrics that sums over rows give: one subtraction a block."""
    statistics = task.statistics(scored)
    is_tried = parts.place_of_row >= 0
    places = parts.place_of_row[is_tried]
    of_blocks = _sums(statistics, parts.block_of_row, parts.num_blocks)
    of_tried = _sums(statistics[is_tried], places, parts.num_tried)
    of_guessed = _sums(task.statistics(parts.guessed), parts.place_of_guess, parts.num_tried)
    totals = statistics.sum(0)
    without = task.metrics(totals - of_blocks)
    again = task.metrics(totals + of_tried)
    changed = task.metrics(totals + of_guessed)
    return {name: (without[name], again[name], changed[name]) for name in without}


def _sums(statistics: np.ndarray, part_of_row: np.ndarray, num_parts: int) -> np.ndarray:
    """(num_parts, K) the sums of the rows (N, K) of each part."""
    sums = np.zeros((num_parts, statistics.shape[1]))
    np.add.at(sums, part_of_row, statistics)
    return sums


def _by_order(scored: Scored, task: Task, parts: Parts) -> dict[str, Moved]:
    """The metrics that hang on the order of all scores: by the weights of rows, the guessed ones
    behind the split's."""
    guessed = parts.guessed
    # Without decisions, which no order hangs on.
    joined = Scored(
        np.concatenate([scored.logits, guessed.logits]),
        np.concatenate([scored.labels, guessed.labels]),
        np.concatenate([scored.offsets, scored.offsets[-1] + guessed.offsets[1:]]),
    )
    found: list[dict[str, np.ndarray]] = []
    for weights in _weights(parts):
        found.append(task.ranked(joined, weights))
        if not found[0]:
            return {}
    moved = {}
    ends = [parts.num_blocks, parts.num_blocks + parts.num_tried]
    for name in found[0]:
        values = np.concatenate([part[name] for part in found])
        without, again, changed = np.split(values, ends)
        moved[name] = (without, again, changed)
    return moved


def _weights(parts: Parts) -> Iterator[np.ndarray]:
    """(R, N + M) weights of the rows, a part of them at a time: without each block, then with each
    of the tried rows once more, then with each of them guessed."""
    num_rows, num_tried = len(parts.block_of_row), parts.num_tried
    width = num_rows + len(parts.place_of_guess)
    at_once = max(1, MOST_NUMBERS // width)
    total = parts.num_blocks + 2 * num_tried
    for start in range(0, total, at_once):
        numbers = np.arange(start, min(start + at_once, total))[:, None]
        again = numbers - parts.num_blocks
        guess = again - num_tried
        weights = np.empty((len(numbers), width))
        # A number past the blocks leaves none out, and one before them adds nothing.
        weights[:, :num_rows] = parts.block_of_row != numbers
        weights[:, :num_rows] += (parts.place_of_row == again) & (again >= 0)
        weights[:, num_rows:] = parts.place_of_guess == guess
        yield weights
