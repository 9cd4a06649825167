"""How much each test row moves a metric: the jackknife (Efron and Tibshirani, 1993, An Introduction
to the Bootstrap, chapter 11), and what a change that no row shows would move.

    influence of row i:  (N - 1) (metric of all rows - metric without row i)
    one more row:        (N + 1) (metric with it - metric of all rows)

Rows are sentences for tagging, never words. Of many rows blocks are left out, drawn by chance, so
that a million rows cost a thousand evaluations. A metric that a removal leaves undefined stands on
these rows alone; it counts as 0 there, as beside others (`scores.py`), which makes it as unsure as
it is.

Shapes: N rows, G blocks of them (single rows where there are few), H rows that are drawn, P units.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from limbeck.evaluation.scores import told_quality
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
    by one that does not see it. `num_rows`: N. `is_defined`: whether the metric is.
    """

    value: float
    rows: np.ndarray
    again: np.ndarray
    blind: np.ndarray
    num_rows: int
    is_defined: bool = True


def influences(scored: Scored, task: Task) -> dict[str, Influence]:
    """The influence of the rows on every metric of the task."""
    num_rows = len(scored.offsets) - 1
    order = np.random.default_rng(0).permutation(num_rows)
    # The order of a file may be that of its labels: blocks of it would not be alike.
    block_of_row = np.empty(num_rows, np.int64)
    block_of_row[order] = np.arange(num_rows) % MOST_BLOCKS
    tried = order[:MOST_TRIED]
    guessed = blind(scored, tried)
    moved = _by_totals(scored, guessed, task, block_of_row, tried)
    moved |= _by_order(scored, guessed, task, block_of_row, tried)
    known = told_quality(scored, task)
    return {name: _influence(value, moved[name], num_rows) for name, value in known.items()}


def blind(scored: Scored, rows: np.ndarray) -> Scored:
    """Some rows (H), answered by a model that does not see them: with the logits of other units.

    Where all units have the same logits, these are turned by one label, so that they differ.
    """
    units = [np.arange(scored.offsets[row], scored.offsets[row + 1]) for row in rows]
    lengths = [len(each) for each in units]
    own = np.concatenate(units)
    generator = np.random.default_rng(0)
    others = generator.permutation(own)
    logits = scored.logits[others]
    decided = None if scored.decided is None else scored.decided[others]
    if np.array_equal(logits, scored.logits[own]):
        logits, decided = np.roll(logits, 1, axis=1), None
    offsets = np.concatenate([[0], np.cumsum(lengths)])
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


def _by_totals(
    scored: Scored,
    guessed: Scored,
    task: Task,
    block_of_row: np.ndarray,
    tried: np.ndarray,
) -> dict[str, Moved]:
    """The metrics that sums over rows give: one subtraction a block."""
    statistics = task.statistics(scored)
    of_blocks = np.zeros((block_of_row.max() + 1, statistics.shape[1]))
    np.add.at(of_blocks, block_of_row, statistics)
    totals = statistics.sum(0)
    without = task.metrics(totals - of_blocks)
    again = task.metrics(totals + statistics[tried])
    changed = task.metrics(totals + task.statistics(guessed))
    return {name: (without[name], again[name], changed[name]) for name in without}


def _by_order(
    scored: Scored,
    guessed: Scored,
    task: Task,
    block_of_row: np.ndarray,
    tried: np.ndarray,
) -> dict[str, Moved]:
    """The metrics that hang on the order of all scores: by the weights of rows, the guessed ones
    behind the split's."""
    num_rows, num_blocks = len(block_of_row), block_of_row.max() + 1
    # Without decisions, which no order hangs on.
    joined = Scored(
        np.concatenate([scored.logits, guessed.logits]),
        np.concatenate([scored.labels, guessed.labels]),
        np.concatenate([scored.offsets, scored.offsets[-1] + guessed.offsets[1:]]),
    )
    added = np.concatenate([tried, num_rows + np.arange(len(tried))])
    parts: list[dict[str, np.ndarray]] = []
    for weights in _weights(block_of_row, len(tried), added):
        parts.append(task.ranked(joined, weights))
        if not parts[0]:
            return {}
    moved = {}
    for name in parts[0]:
        values = np.concatenate([part[name] for part in parts])
        ends = [num_blocks, num_blocks + len(tried)]
        without, again, changed = np.split(values, ends)
        moved[name] = (without, again, changed)
    return moved


def _weights(
    block_of_row: np.ndarray,
    num_guessed: int,
    added: Sequence[int] | np.ndarray,
) -> Iterator[np.ndarray]:
    """(R, N + H) weights of the rows, a part of them at a time: without each block, then with each
    of the `added` rows once more."""
    num_rows, num_blocks = len(block_of_row), block_of_row.max() + 1
    width = num_rows + num_guessed
    at_once = max(1, MOST_NUMBERS // width)
    total = num_blocks + len(added)
    for start in range(0, total, at_once):
        numbers = np.arange(start, min(start + at_once, total))
        weights = np.zeros((len(numbers), width))
        # A number past the blocks leaves none out.
        weights[:, :num_rows] = block_of_row != numbers[:, None]
        is_added = np.flatnonzero(numbers >= num_blocks)
        weights[is_added, np.asarray(added)[numbers[is_added] - num_blocks]] += 1
        yield weights
