"""Figures from counts and from ranks, in numpy.

    precision   p = TP / predicted
    recall      r = TP / true
    F1          2 TP / (predicted + true), the harmonic mean of p and r
    AUC         P(positive scores above negative) + P(equal) / 2, the area under the ROC curve
                (Hanley and McNeil, 1982)
    Pearson     cov(x, y) / sqrt(var(x) var(y))
    Spearman    Pearson's of the ranks; equal values share the mean of theirs (Spearman, 1904)

A figure whose denominator is 0 is undefined, and is NaN here: the precision of a label that nobody
answers, the AUC of rows of one label, the correlation with what does not vary. Nobody is shown a 0
in its place; what a comparison takes it for, `evaluation/scores.py` says.

Shapes: N rows, R resamples, V labels. `weights` (R, N): how often each row counts in a resample.
"""

import math
from collections.abc import Sequence

import numpy as np

from limbeck.sources._cells.tags import type_of
from limbeck.tasks.likelihood import is_known
from limbeck.tasks.types import Answer, Array

# A metric of which less is better has one of these words in its name. No list of metrics is kept:
# one of an outside task is judged as ours are.
LESS_IS_BETTER = ("bits", "error", "loss", "nats", "perplexity")

# Metrics that lie in [-1, 1], and in [0, 1]. An outside task's, by another name, may be anything.
CORRELATIONS = ("spearman", "pearson")
SHARES = (
    "accuracy",
    "token_micro_average",
    "exact_match",
    "precision",
    "recall",
    "recall_at_1",
    "recall_at_10",
    "f1",
    "micro_f1",
    "macro_f1",
    "auc",
    "lrap",
    "mrr",
)

# Scores of queries and items that are held at once: 32 MiB of float64.
SCORES_AT_ONCE = 2**22

# Variances below this, in shares of the squared count, are the rounding error of sums.
SMALLEST_SPREAD = 1e-12


def sign(name: str) -> int:
    """1, or -1 for a metric of which less is better, as its name says.

    >>> sign("accuracy"), sign("root_mean_square_error")
    (1, -1)
    """
    words = name.split("_")
    is_less_better = any(word in words for word in LESS_IS_BETTER)
    return -1 if is_less_better else 1


def bounds(name: str) -> tuple[float, float]:
    """The least and the most that a metric can be, as its name says; infinite where it does not.

    >>> bounds("f1"), bounds("spearman"), bounds("root_mean_square_error")
    ((0.0, 1.0), (-1.0, 1.0), (0.0, inf))
    """
    if name in CORRELATIONS:
        return -1.0, 1.0
    if name in SHARES:
        return 0.0, 1.0
    # Of the metrics of which less is better none of ours is negative.
    return (0.0 if sign(name) < 0 else -math.inf), math.inf


def ratio(part: Array, whole: Array) -> Array:
    """part / whole, 0 where whole is 0."""
    zeros = np.zeros(np.broadcast(part, whole).shape)
    # `out` keeps its zeros where nothing is divided, so that numpy has nothing to warn of.
    is_divided = np.asarray(whole) != 0
    return np.divide(part, whole, out=zeros, where=is_divided)


def defined(part: Array, whole: Array) -> Array:
    """part / whole, NaN where whole is 0."""
    return np.where(np.asarray(whole) != 0, ratio(part, whole), np.nan)


# From counts.


def sums_by_row(columns: Sequence[Array], offsets: Array) -> Array:
    """(N, K) sums over the units of each row, of K columns (P); row i has the units from offsets[i]
    to before offsets[i + 1]."""
    num_rows = len(offsets) - 1
    row_of_unit = np.repeat(np.arange(num_rows), np.diff(offsets))
    # A row without a unit has sums of 0, and counts nowhere.
    return np.stack([np.bincount(row_of_unit, column, num_rows) for column in columns], 1)


def precision_recall_f1(
    hits: Array,
    predicted: Array,
    true: Array,
) -> tuple[Array, Array, Array]:
    """The three, each in [0, 1] or NaN, for any shape of counts."""
    precision = defined(hits, predicted)
    recall = defined(hits, true)
    # Not from precision and recall, which may both be 0.
    f1 = defined(2 * hits, predicted + true)
    return precision, recall, f1


def macro(figures: Array, counted: Array) -> Array:
    """The mean over the labels, on the last axis, that are `counted` (bool); NaN where none is.

    Of these an undefined figure counts as 0, as in scikit-learn: that a label is never answered is
    no reason to forget it. Of labels that exclude one another those count that stand in rows or
    answers: a test set without one of them says nothing of it.
    """
    known = np.where(counted, np.nan_to_num(figures), 0)
    return defined(known.sum(-1), counted.sum(-1))


def label_report(
    labels: Array,
    decisions: Array,
    names: Sequence[str],
) -> Answer:
    """Of labels that exclude one another: `per_label` and `confusion` of the run's report."""
    counts = confusion(labels, decisions, len(names))
    return {
        "per_label": per_label(counts, names),
        "confusion": {"labels": list(names), "counts": counts.tolist()},
    }


def confusion(
    labels: Array,
    decisions: Array,
    num_labels: int,
) -> Array:
    """(V, V) counts, rows true, columns predicted; units whose label is unknown do not count."""
    known = is_known(labels)
    # Each pair of labels is one number, row by row.
    cells = labels[known] * num_labels + decisions[known]
    counts = np.bincount(cells, minlength=num_labels**2)
    return counts.reshape(num_labels, num_labels)


def per_label(counts: Array, names: Sequence[str]) -> list[Answer]:
    """The `report` of confusion counts (V, V); its micro average is the share of right units."""
    hits = np.diag(counts)
    predicted = counts.sum(0)
    true = counts.sum(1)
    return report((hits, predicted, true), names, predicted + true > 0)


def report(
    counts: tuple[Array, Array, Array],
    names: Sequence[str],
    counted: Array,
) -> list[Answer]:
    """Precision, recall, F1 and support (the true ones) of every label; then
    their micro average (of all counts), macro average (`macro`) and average weighted by support."""
    hits, predicted, true = counts
    # (V, 3): precision, recall and F1 are the columns.
    figures = np.stack(precision_recall_f1(hits, predicted, true), 1)
    rows = []
    for index, name in enumerate(names):
        rows.append(report_row(name, figures[index], true[index]))
    total = true.sum()
    micro = precision_recall_f1(hits.sum(), predicted.sum(), total)
    by_support = np.nan_to_num(figures) * true[:, None]
    # `ratio`, because a split may hold no label at all.
    weighted = defined(by_support.sum(0), np.full(3, total))
    rows.append(report_row("micro average", np.array(micro), total))
    rows.append(report_row("macro average", macro(figures.T, counted), total))
    rows.append(report_row("weighted average", weighted, total))
    return rows


def report_row(
    name: str,
    figures: Array,
    support: int,
) -> Answer:
    """One row of a `report`; `figures` (3): precision, recall, F1, None where undefined."""
    known = [None if np.isnan(figure) else float(figure) for figure in figures]
    precision, recall, f1 = known
    return {
        "label": name,
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "support": int(support),
    }


def spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """(type, first word, past the last) of every entity of a sentence.

    B- begins one. So does an I- of another type or after O, as in the shared task's `conlleval`.
    A tag of no span, such as a part of speech, is one by itself.
    """
    found: list[tuple[str, int, int]] = []
    start = 0
    kind = ""
    # The O at the end closes an entity that reaches to it.
    for index, tag in enumerate([*tags, "O"]):
        continues = tag.startswith("I-") and tag[2:] == kind
        if kind and not continues:
            found.append((kind, start, index))
            kind = ""
        if tag != "O" and not continues:
            start = index
            kind = type_of(tag)
    return found


# From the order of scores.


def weighted_auc(
    scores: Array,
    positive: Array,
    weights: Array,
) -> Array:
    """(R) the AUC of `scores` (N) for `positive` (N; bool); NaN where a side weighs nothing."""
    order = np.argsort(scores, kind="stable")
    # 1. Groups of equal scores, once for all resamples; NaN before the first begins a group.
    steps = np.diff(scores[order], prepend=np.nan)
    group_starts = np.flatnonzero(steps != 0)
    # 2. How many positives and negatives each group holds in each resample.
    in_order = weights[:, order]
    is_positive = positive[order]
    positives = np.add.reduceat(in_order * is_positive, group_starts, axis=1)
    negatives = np.add.reduceat(in_order * ~is_positive, group_starts, axis=1)
    # 3. A group beats the negatives below it, and half of its own.
    beaten = negatives.cumsum(1) - negatives / 2
    won = (positives * beaten).sum(1)
    pairs = positives.sum(1) * negatives.sum(1)
    unknown = np.full(len(weights), np.nan)
    return np.divide(won, pairs, out=unknown, where=pairs != 0)


def macro_auc(
    scores: Array,
    labels: Array,
    weights: Array,
) -> Array:
    """(R) the mean over labels of each one's AUC against the rest, from `scores` (N, V) and indices
    `labels` (N); of two labels, that of the second.

    As MedMNIST computes it (Yang et al., 2023, arXiv 2110.14795). A label that all rows or none of
    a resample have is left out; NaN where none is left.
    """
    num_labels = scores.shape[1]
    # Of two labels the first has the same AUC as the second, up to rounding.
    judged = range(num_labels) if num_labels > 2 else [1]
    # Nothing has no groups of equal scores.
    if not len(scores):
        return np.full(len(weights), np.nan)
    by_label = []
    for label in judged:
        auc = weighted_auc(scores[:, label], labels == label, weights)
        by_label.append(auc)
    aucs = np.stack(by_label, 1)
    num_left = (~np.isnan(aucs)).sum(1)
    return defined(np.nansum(aucs, 1), num_left)


def average_precisions(scores: Array, true: Array) -> Array:
    """(N) the average precision of each row of `scores` (N, V): over its `true` labels (N, V; bool)
    the mean share of true ones among all that score as much or more; 0 where it has none."""
    order = np.argsort(-scores, axis=1, kind="stable")
    falling = np.take_along_axis(scores, order, 1)
    hits = np.take_along_axis(true, order, 1)
    # Equal scores have no order among them: each is judged at the end of its group.
    last = last_of_equal(falling)
    num_true = np.take_along_axis(hits.cumsum(1), last, 1)
    precision = num_true / (last + 1)
    at_true_labels = precision * hits
    return ratio(at_true_labels.sum(1), hits.sum(1))


def last_of_equal(falling: Array) -> Array:
    """(N, V) for each place of rows of falling scores, the last place of the same score."""
    places = np.arange(falling.shape[1])
    is_change = falling[:, 1:] != falling[:, :-1]
    # The last place of a row ends a group, whatever its score.
    is_last = np.pad(is_change, ((0, 0), (0, 1)), constant_values=True)
    ends = np.where(is_last, places, places[-1])
    # From the right, the nearest end so far.
    return np.minimum.accumulate(ends[:, ::-1], 1)[:, ::-1]


def ranks(
    queries: Array,
    items: Array,
    item_of_query: Array,
) -> Array:
    """(N) the place, from 1, of each query's item among `items` (M, D) by their dot products with
    `queries` (N, D); `item_of_query` (N): the index of the query's item.

    Items of one score stand before it, so that a model that gives one vector for everything ranks
    last, not first.
    """
    # A part at a time: all scores of 10,000 queries and as many items would be 800 MB.
    num_at_once = max(1, SCORES_AT_ONCE // max(1, len(items)))
    # In float64: items that are nearly the same keep their order.
    wide_items = items.astype(np.float64).T
    places = np.empty(len(queries), np.int64)
    for start in range(0, len(queries), num_at_once):
        part = slice(start, start + num_at_once)
        wide_queries = queries[part].astype(np.float64)
        scores = wide_queries @ wide_items
        right = np.take_along_axis(scores, item_of_query[part, None], 1)
        # The item itself is among those that score as much, which makes the best place 1.
        places[part] = (scores >= right).sum(1)
    return places


# Correlations.


def pearson(totals: Array) -> Array:
    """Totals (..., 6) of 1, x, y, x^2, y^2 and xy to the correlation in [-1, 1]; NaN where x or y
    does not vary."""
    count, x, y, xx, yy, xy = np.moveaxis(totals, -1, 0)
    # Each times the squared count. Below 0 a sum of squares only falls by rounding.
    variance_x = np.maximum(count * xx - x * x, 0)
    variance_y = np.maximum(count * yy - y * y, 0)
    covariance = count * xy - x * y
    spread = np.sqrt(variance_x * variance_y)
    varies = spread > SMALLEST_SPREAD * count * count
    correlation = defined(covariance, np.where(varies, spread, 0))
    # By rounding it may be 1 + 1e-16.
    return np.clip(correlation, -1, 1)


def weighted_ranks(values: Array, weights: Array) -> Array:
    """(R, N) the rank of each of `values` (N), in shares of all; equal values share the mean."""
    order = np.argsort(values, kind="stable")
    # Groups of equal values, once for all resamples; NaN before the first begins a group.
    steps = np.diff(values[order], prepend=np.nan)
    is_first = steps != 0
    group_starts = np.flatnonzero(is_first)
    group_weights = np.add.reduceat(weights[:, order], group_starts, axis=1)
    # The mean of a group's ranks is its middle.
    middles = group_weights.cumsum(1) - group_weights / 2
    shares = ratio(middles, weights.sum(1, keepdims=True))
    group_of_place = is_first.cumsum() - 1
    ranks_of_values = np.empty_like(weights)
    ranks_of_values[:, order] = shares[:, group_of_place]
    return ranks_of_values


def spearman(
    x: Array,
    y: Array,
    weights: Array,
) -> Array:
    """(R) the rank correlation of x and y, both (N), in [-1, 1]; NaN where one does not vary."""
    # Nothing has no groups of equal values.
    if not len(x):
        return np.full(len(weights), np.nan)
    # Less one half, about their mean, so that sums of squares lose no digits.
    a = weighted_ranks(x, weights) - 0.5
    b = weighted_ranks(y, weights) - 0.5
    columns = [np.ones_like(a), a, b, a * a, b * b, a * b]
    # Ranks differ between resamples, so that no sums over rows serve them all.
    totals = [(weights * column).sum(1) for column in columns]
    return pearson(np.stack(totals, 1))
