"""What is mistaken for what, and the scores of each label: the tables under Confusion and Labels.

Of many labels no table is read whole: the most frequent mistakes and the labels that lost most come
first, and the rest is folded. Confusion is coloured by the share of its row, so that a frequent
class such as O does not wash out the others.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from statistics import fmean
from typing import Any

Json = dict[str, Any]

SCORES = ("precision", "recall", "f1")
AVERAGES = ("micro average", "macro average", "weighted average")
MAX_CONFUSION_LABELS = 24  # whose columns fit the width of the page
MAX_MISTAKES = 20
MAX_LABEL_ROWS = 24  # of one table; of more labels the worst of them are shown


def confusions(arms: Json) -> dict[str, Json]:
    """The matrix of every arm that has one, all of the same labels."""
    seeds = {name: arm["seeds"][0] for name, arm in arms.items() if has_confusion(arm)}
    matrices = [seed["confusion"]["counts"] for seed in seeds.values()]
    shown = most_confused(matrices)
    return {name: confusion(seed, shown) for name, seed in seeds.items()}


def has_confusion(arm: Json) -> bool:
    """Whether the first seed has counts by true label and answer."""
    return bool(arm["seeds"]) and bool(arm["seeds"][0].get("confusion"))


def mistakes(arms: Sequence[Json]) -> list[Json]:
    """The mistakes that the last of some arms makes most often, in its first seed, with how often
    each arm makes them."""
    matrices = [arm["seeds"][0]["confusion"] for arm in arms if has_confusion(arm)]
    if not matrices:
        return []
    labels = matrices[-1]["labels"]
    rows = []
    for true, row in enumerate(matrices[-1]["counts"]):
        for predicted, count in enumerate(row):
            # What is right stands on the diagonal.
            if count and true != predicted:
                counts = [matrix["counts"][true][predicted] for matrix in matrices]
                mistake = {
                    "given": labels[true],
                    "answered": labels[predicted],
                    "counts": counts,
                    "total": sum(row),
                }
                rows.append(mistake)
    # Sorting keeps the order of equals.
    rows.sort(key=lambda row: -row["counts"][-1])
    return rows[:MAX_MISTAKES]


def confusion(seed: Json, shown: Sequence[int]) -> Json:
    """The matrix of a seed, cut to the labels of some indices.

    A cell knows its share of its whole row, what was cut off included.
    """
    labels = seed["confusion"]["labels"]
    counts = seed["confusion"]["counts"]  # by true label, then by predicted label
    rows = []
    for true in shown:
        row = counts[true]
        cells = [_cell(row, true, predicted) for predicted in shown]
        rows.append({"label": labels[true], "total": sum(row), "cells": cells})
    return {
        "labels": [labels[i] for i in shown],
        "rows": rows,
        "num_labels": len(labels),
        "seed": seed["seed"],
    }


def most_confused(matrices: Sequence[Sequence[Sequence[int]]]) -> list[int]:
    """Indices of the labels with the most errors over several matrices of the same labels, as truth
    or as answer; at most 24, in order."""
    errors: dict[int, int] = defaultdict(int)
    for counts in matrices:
        columns = list(map(sum, zip(*counts, strict=True)))
        for i, row in enumerate(counts):
            # What is right stands in the row and in the column.
            errors[i] += sum(row) + columns[i] - 2 * row[i]
    indices = sorted(errors)
    # Sorting keeps the order of equals: of labels with as many errors, the first are shown.
    worst = sorted(indices, key=lambda i: -errors[i])
    return sorted(worst[:MAX_CONFUSION_LABELS])


def _cell(row: Sequence[int], true: int, predicted: int) -> Json:
    """A count and the opacity of its colour, which grows with its share of the row."""
    # A label that the test split does not have makes an empty row.
    share = row[predicted] / max(1, sum(row))
    is_hit = true == predicted
    # By the square root off the diagonal, where a small share matters.
    opacity = 0.5 * share if is_hit else 0.75 * math.sqrt(share)
    return {
        "count": row[predicted],
        "share": share,
        "hit": is_hit,
        "opacity": f"{opacity:.3f}",
    }


def label_rows(arms: Sequence[Json]) -> list[Json]:
    """Precision, recall and F1 of each label, each arm's mean over seeds; averages come last."""
    tables = [_label_scores(arm) for arm in arms]
    # In the order of the first arm, then what only the second has.
    labels = list(dict.fromkeys(chain.from_iterable(tables)))
    # Sorting keeps the order of equals, here of all that are no averages.
    labels.sort(key=_place_among_averages)
    rows = []
    for label in labels:
        scores = [table.get(label, {}) for table in tables]
        rows.append(_label_row(label, scores))
    return rows


def worst_labels(rows: Sequence[Json]) -> tuple[list[Json], list[Json]]:
    """The rows of `label_rows` to be shown, and those to be folded: of more than 24 labels those
    first that lost most F1, or where one arm alone has scores, that have least; and averages."""
    labels = [row for row in rows if not row["average"]]
    if len(labels) <= MAX_LABEL_ROWS:
        return list(rows), []
    by_loss = sorted(labels, key=_lost_f1)
    averages = [row for row in rows if row["average"]]
    return by_loss[:MAX_LABEL_ROWS] + averages, by_loss[MAX_LABEL_ROWS:]


def _lost_f1(row: Json) -> float:
    """What rows are sorted by, the worst first."""
    # Of a label that test lacks, or that has one arm's score, there is no change.
    value = row["scores"][-1] if row["difference"] is None else row["difference"]
    return math.inf if value is None else value


def _place_among_averages(label: str) -> int:
    """-1 for a label that is none."""
    return AVERAGES.index(label) if label in AVERAGES else -1


def _label_row(label: str, scores: Sequence[Json]) -> Json:
    """The scores of one label, arm after arm, and how F1 changes from the first arm on."""
    f1 = _known(score.get("f1") for score in scores)
    supports = _known(score.get("support") for score in scores)
    return {
        "label": label,
        "average": label in AVERAGES,
        "support": supports[0] if supports else None,
        "scores": [score.get(key) for score in scores for key in SCORES],
        "difference": f1[1] - f1[0] if len(f1) == 2 else None,
    }


def _label_scores(arm: Json) -> dict[str, Json]:
    """Label -> the mean of each of its scores over the seeds of an arm."""
    rows_of: dict[str, list[Json]] = defaultdict(list)
    for seed in arm["seeds"]:
        for row in seed.get("per_label") or []:
            rows_of[row["label"]].append(row)
    scores: dict[str, Json] = {}
    for label, rows in rows_of.items():
        means: Json = {}
        for key in (*SCORES, "support"):
            known = _known(row.get(key) for row in rows)
            means[key] = fmean(known) if known else None
        scores[label] = means
    return scores


def _known(values: Iterable[float | None]) -> list[float]:
    """Without what the report has no number for."""
    return [value for value in values if value is not None]
