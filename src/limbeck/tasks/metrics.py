"""Figures from counts and from ranks. Torch-free.

Precision p = TP / predicted, recall r = TP / true, F1 = 2 TP / (predicted + true); 0 where a denominator is 0.
AUC = P(score of a positive > score of a negative) + P(equal) / 2, the area under the ROC curve (Hanley and McNeil, 1982).
Pearson's correlation is cov(x, y) / sqrt(var(x) var(y)); Spearman's that of the ranks, equal values sharing the mean of theirs (Spearman, 1904).
"""

from typing import Any

import numpy as np

LOWER_IS_BETTER = ("nats_per_token", "perplexity", "root_mean_square_error")
SCORES_AT_ONCE = 2**22  # 32 MiB of a ranking's scores


def sign(name: str) -> int:
    """1, or -1 for a metric whose rise is a loss."""
    return -1 if name in LOWER_IS_BETTER else 1


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where whole is 0."""
    return np.divide(
        part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=np.asarray(whole) != 0
    )


def precision_recall_f1(
    hits: np.ndarray, predicted: np.ndarray, true: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three, each in [0, 1], for any shape of counts."""
    return ratio(hits, predicted), ratio(hits, true), ratio(2 * hits, predicted + true)


def weighted_auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R) the AUC of `scores` (N) for `positive` (N; bool) under each row of `weights` (R, N); NaN where either side weighs nothing.

    Sorted once: a group of equal scores beats the negatives below it, and half of its own.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)
    above = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    below = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    won = (above * (below.cumsum(1) - below / 2)).sum(1)
    pairs = above.sum(1) * below.sum(1)
    return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs != 0)


def macro_auc(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R) the mean over labels of each one's AUC against the rest, from `scores` (N, V); of two labels, that of the second.

    As MedMNIST computes it (Yang et al., 2023, arXiv 2110.14795). A label that all rows or none of a resample have is left out; 0 where none is left.
    """
    chosen = range(scores.shape[1]) if scores.shape[1] > 2 else [1]
    found = np.stack(
        [weighted_auc(scores[:, label], labels == label, weights) for label in chosen], 1
    )
    return ratio(np.nansum(found, 1), (~np.isnan(found)).sum(1))


def pearson(totals: np.ndarray) -> np.ndarray:
    """Totals (..., 6) of 1, x, y, x^2, y^2 and xy to the correlation in [-1, 1]; 0 where x or y does not vary."""
    count, x, y, xx, yy, xy = np.moveaxis(totals, -1, 0)
    spread = np.sqrt(np.maximum(count * xx - x * x, 0) * np.maximum(count * yy - y * y, 0))
    found = ratio(count * xy - x * y, np.where(spread > 1e-12 * count * count, spread, 0))
    return np.clip(found, -1, 1)


def weighted_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R, N) the rank of each of `values` (N), as a share of all, where each counts as often as a row of `weights` (R, N) says."""
    order = np.argsort(values, kind="stable")
    is_first = np.diff(values[order], prepend=np.nan) != 0
    shares = np.add.reduceat(weights[:, order], np.flatnonzero(is_first), axis=1)
    middles = shares.cumsum(1) - shares / 2
    found = np.empty_like(weights)
    found[:, order] = ratio(middles, weights.sum(1, keepdims=True))[:, is_first.cumsum() - 1]
    return found


def spearman(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R) the rank correlation of x and y (N) under each row of `weights` (R, N), in [-1, 1]; 0 where one of the two does not vary."""
    if not len(x):
        return np.zeros(len(weights))
    a, b = (weighted_ranks(values, weights) - 0.5 for values in (x, y))
    return pearson(
        np.stack(
            [(weights * part).sum(1) for part in (np.ones_like(a), a, b, a * a, b * b, a * b)], 1
        )
    )


def ranks(queries: np.ndarray, items: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(N) the place, from 1, of item number `own` (N) among `items` (M, D) by their dot products with `queries` (N, D).

    Items of one score stand before it, so that a model that gives one vector for everything ranks last, not first.
    """
    found, chunk = np.empty(len(queries), np.int64), max(1, SCORES_AT_ONCE // max(1, len(items)))
    for start in range(0, len(queries), chunk):
        part = slice(start, start + chunk)
        scores = queries[part].astype(np.float64) @ items.astype(np.float64).T
        found[part] = (scores >= np.take_along_axis(scores, own[part, None], 1)).sum(1)
    return found


def average_precisions(scores: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(N) of each row of `scores` (N, V), the mean over its `true` labels (N, V; bool) of the share of true ones among all that score as much or
    more; 0 where it has none."""
    order = np.argsort(-scores, axis=1, kind="stable")
    falling, hits = np.take_along_axis(scores, order, 1), np.take_along_axis(true, order, 1)
    places = np.arange(scores.shape[1])
    is_last = np.pad(
        falling[:, 1:] != falling[:, :-1], ((0, 0), (0, 1)), constant_values=True
    )  # of the labels of one score
    ends = np.where(is_last, places, places[-1])
    last = np.minimum.accumulate(ends[:, ::-1], 1)[:, ::-1]
    precision = np.take_along_axis(hits.cumsum(1), last, 1) / (last + 1)
    return ratio((precision * hits).sum(1), hits.sum(1))


def confusion(labels: np.ndarray, decisions: np.ndarray, num_labels: int) -> np.ndarray:
    """(V, V) counts, rows true, columns predicted; units without a label (negative) do not count."""
    known = labels >= 0
    return np.bincount(
        labels[known] * num_labels + decisions[known], minlength=num_labels**2
    ).reshape(num_labels, num_labels)


def per_label(counts: np.ndarray, labels: list[str]) -> list[dict[str, Any]]:
    """Of confusion counts (V, V), where the micro average is the share of right units."""
    return report(np.diag(counts), counts.sum(0), counts.sum(1), labels)


def report(
    hits: np.ndarray, predicted: np.ndarray, support: np.ndarray, labels: list[str]
) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of every label, then the micro, macro and weighted average."""
    figures = np.stack(precision_recall_f1(hits, predicted, support), 1)
    total = int(support.sum())
    rows = [_row(label, figures[i], support[i]) for i, label in enumerate(labels)]
    rows.append(
        _row(
            "micro average",
            np.array(precision_recall_f1(hits.sum(), predicted.sum(), support.sum())),
            total,
        )
    )
    rows.append(_row("macro average", figures.mean(0), total))
    rows.append(
        _row(
            "weighted average", ratio((figures * support[:, None]).sum(0), np.full(3, total)), total
        )
    )
    return rows


def _row(label: str, figures: np.ndarray, support: int) -> dict[str, Any]:
    precision, recall, f1 = figures.tolist()
    return {
        "label": label,
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "support": int(support),
    }


def spans(tags: list[str]) -> list[tuple[str, int, int]]:
    """(type, first, past the last) of every span of a tag sequence: B- begins one; I- of another type, or after O, begins one too (as conlleval)."""
    found: list[tuple[str, int, int]] = []
    start, kind = 0, ""
    for index, tag in enumerate([*tags, "O"]):
        continues = tag.startswith("I-") and tag[2:] == kind
        if kind and not continues:
            found.append((kind, start, index))
            kind = ""
        if tag != "O" and not continues:
            start, kind = index, tag[2:]
    return found
