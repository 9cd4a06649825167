"""Kinds of rows on which a student may lose more than on the rest: by label, by length, by words
that train lacks, by brightness, by columns of the user's.

Each kind is a mask over the rows of the test split. Teacher and student are compared on its rows by
the share that is right, with Tango's interval; the one-sided p values of "the student is no worse
here" are adjusted for how many kinds were looked at (Holm, 1979, Scandinavian Journal of Statistics
6, 65-70). Kinds overlap, which Holm's method allows.

Rows that count as one (those of one patient) are one coin, which falls on the side where more of
them changed, and the interval is that of influences (`score_interval.py`).

Shapes: N rows, S slices.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from limbeck.evaluation import paired
from limbeck.evaluation.holm import adjusted
from limbeck.evaluation.paired import Changes
from limbeck.evaluation.score_interval import Estimate
from limbeck.sources import Row, text_of

# Fewer rows than these show no drop that is worth a line.
FEWEST_ROWS = 10
# Values of one column: more are names, not kinds.
MOST_VALUES = 50
# The parts into which lengths and brightness are cut: low, middle, high.
PARTS = 3


@dataclass(frozen=True)
class Slice:
    """Rows of one kind. `by`: what they have in common, such as `length`; `value`: which of it."""

    by: str
    value: str
    mask: np.ndarray


def of_labels(rows: Sequence[Row]) -> list[Slice]:
    """A slice for each label: rows that have it, of several labels or tags rows that have it too;
    none where labels are numbers."""
    # 1. What each row has.
    labels_of: list[set[str]] = []
    for row in rows:
        label = row.get("tags", row.get("label"))
        several = label if isinstance(label, list) else [label]
        # `B-PER` and `I-PER` are one type, and O is none.
        names = {str(each).removeprefix("B-").removeprefix("I-") for each in several}
        labels_of.append(names - {"O", "None"} if "tags" in row else names)
    # 2. The rows that have each of them; one row may be of several.
    every = sorted(set().union(*labels_of))
    return [
        Slice("label", name, np.array([name in names for names in labels_of])) for name in every
    ]


def of_parts(by: str, values: np.ndarray, unit: str) -> list[Slice]:
    """The rows in three parts of about equal size by a number (N) of each; fewer where many rows
    have the same."""
    ends = np.unique(np.quantile(values, np.linspace(0, 1, PARTS + 1)))
    slices = []
    # Ends of equal numbers fall together, and leave fewer parts.
    for number, (low, high) in enumerate(itertools.pairwise(ends)):
        above = values >= low if number == 0 else values > low
        inside = above & (values <= high)
        # Of an end that lies between two numbers there may be none.
        if not inside.any():
            continue
        # As its rows have it: the end of one part is not the beginning of the next.
        least, most = values[inside].min(), values[inside].max()
        slices.append(Slice(by, f"{least:.4g} to {most:.4g} {unit}", inside))
    return slices


def of_columns(rows: Sequence[Row]) -> list[Slice]:
    """A slice for each value of the user's columns (`data.slices`)."""
    slices = []
    # In the order of the recipe, each once.
    columns: dict[str, None] = {}
    for row in rows:
        columns |= dict.fromkeys(row.get("slices", {}))
    for column in columns:
        values = np.array([row.get("slices", {}).get(column, "") for row in rows])
        names, counts = np.unique(values, return_counts=True)
        # The most frequent, of a column with more values.
        for name in names[np.argsort(-counts, kind="stable")][:MOST_VALUES]:
            slices.append(Slice(column, str(name), values == name))
    return slices


def of_texts(rows: Sequence[Row], train: Sequence[Row]) -> list[Slice]:
    """By the number of words, and by whether a row has a word that no row of train has."""
    known: set[str] = set()
    for row in train:
        known.update(words_of(row))
    words = [words_of(row) for row in rows]
    new = np.array([not known.issuperset(each) for each in words])
    lengths = np.array([len(each) for each in words], float)
    unseen = [Slice("words", "some that train lacks", new), Slice("words", "all in train", ~new)]
    return of_parts("length", lengths, "words") + unseen


def words_of(row: Row) -> list[str]:
    """The words of a row as they stand between spaces, in lower case; of a script without spaces
    its letters."""
    text = text_of(row).lower()
    words = text.split()
    # As in Chinese, Japanese and Thai: a whole sentence would be one word.
    has_spaces = len(text) < MOST_LETTERS * max(1, len(words))
    return words if has_spaces else [letter for letter in text if letter.isalpha()]


# Letters a word, on the average of a text, beyond which its script writes none apart.
MOST_LETTERS = 20


def of_images(rows: Sequence[Row]) -> list[Slice]:
    """By the mean of all pixels, from 0 (black) to 255."""
    brightness = np.array([row["image"].mean() for row in rows])
    return of_parts("brightness", brightness, "of 255")


def slices_of(rows: Sequence[Row], train: Sequence[Row]) -> list[Slice]:
    """Every slice of a test split that has enough rows, and not all of them.

    rows: N of the test split. train: those that the model learned from.
    """
    found = of_labels(rows) + of_columns(rows)
    # Rows of somebody else's task may hold anything.
    if "image" in rows[0]:
        found += of_images(rows)
    elif "words" in rows[0] or "text" in rows[0]:
        found += of_texts(rows, train)
    return [each for each in found if FEWEST_ROWS <= each.mask.sum() < len(rows)]


def drops(
    slices: Sequence[Slice],
    before: np.ndarray,
    after: np.ndarray,
    clusters: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """What the student lost on each slice: shares of right rows, the drop with its interval, and
    the p values; the surest drop first.

    before, after: (N) whether teacher and student have a row right. clusters: (N) a number for each
    row, the same for rows that count as one; None: each by itself.
    """
    # 1. Each by itself.
    rows: list[dict[str, Any]] = []
    for each in slices:
        was, is_right = before[each.mask], after[each.mask]
        own = None if clusters is None else clusters[each.mask]
        row = {
            "by": each.by,
            "value": each.value,
            "rows": len(was),
            "teacher": float(was.mean()),
            "student": float(is_right.mean()),
            "drop": float(was.mean() - is_right.mean()),
            **how_sure(was, is_right, own),
        }
        rows.append(row)
    # 2. All together: of twenty kinds one looks worse at 5 % by chance alone.
    p_values = adjusted([row["p"] for row in rows])
    for row, p in zip(rows, p_values, strict=True):
        row["p_holm"] = p
    return sorted(rows, key=lambda row: (row["p"], -row["drop"]))


def how_sure(
    was_right: np.ndarray, is_right: np.ndarray, clusters: np.ndarray | None
) -> dict[str, Any]:
    """The interval of a drop, and the p value of none; the arguments are those of `drops`."""
    if clusters is None:
        changed = paired.changes_of(was_right, is_right)
        return {
            "ci95": paired.interval(changed),
            "p": p_of_no_drop(changed),
        }
    # 1. What each cluster lost, in rows.
    of_row = was_right.astype(float) - is_right
    number_of_row = np.unique(clusters, return_inverse=True)[1]
    sizes = np.bincount(number_of_row)
    of_cluster = np.bincount(number_of_row, of_row)
    lost = int((of_cluster > 0).sum())
    won = int((of_cluster < 0).sum())
    # 2. The drop is of rows, and its influences are those of clusters.
    drop = float(of_row.mean())
    scale = len(sizes) / len(of_row)
    # What the change of a cluster that did not change would move, of several sizes as of one.
    jump = scale * float(sizes @ sizes) / len(of_row)
    estimate = Estimate(
        value=drop,
        rows=scale * (of_cluster - drop * sizes),
        rise=jump,
        fall=jump,
        num_rows=len(sizes),
        are_uneven=len(np.unique(sizes)) > 1,
    )
    low, high = estimate.interval()
    return {
        "ci95": [max(-1.0, low), min(1.0, high)],
        "p": p_of_no_drop(Changes(lost, won, len(sizes))),
    }


def p_of_no_drop(changed: Changes) -> float:
    """The p value of "the student is no worse on these rows" (one-sided): that of a fair coin which
    falls on the lost side at least so often (McNemar, 1947, exact)."""
    # Exact, and not by a normal curve: slices are small, and of many the smallest p is looked at.
    num_changed = changed.lost + changed.won
    as_many = sum(math.comb(num_changed, lost) for lost in range(changed.lost, num_changed + 1))
    return as_many / 2**num_changed
