"""Which rows are one input to a reader, and which of a split are known from train.

Texts are the same where they differ by case, spaces or how Unicode writes their letters alone: to
an uncased tokenizer they are equal, and to any other nearly so. Images are the same by their
pixels. Rows of one `group` (a patient, a user) are no independent proofs either.

Shapes: N rows.
"""

import unicodedata
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from limbeck.data.drawing import together
from limbeck.sources import Row

# Fewer test rows than these, beside those of train, show nothing of a model.
FEWEST_NEW = 10


def as_read(content: Hashable) -> Hashable:
    """What makes a row an input (`Task.content`), with texts by their letters alone."""
    if isinstance(content, str):
        return letters(content)
    # Pairs of texts, and words; the shape and the bytes of an image stay as they are.
    if isinstance(content, tuple):
        return tuple(as_read(part) for part in content)
    return content


def as_seen(text: str) -> str:
    """A text as a screen shows it: `é` is one letter or two, and marks of format are none."""
    composed = unicodedata.normalize("NFC", text)
    # Most texts hold no such mark, and are done without a look at each letter.
    if composed.isprintable():
        return composed
    return "".join(letter for letter in composed if unicodedata.category(letter) != "Cf")


def letters(text: str) -> str:
    """A text's letters alone, so that `B-PER` and `b-per ` meet."""
    return as_seen("".join(text.split()).casefold())


def known_from(train: Sequence[Row], rows: Sequence[Row], task: Any) -> np.ndarray:
    """(N; bool) which of `rows` some row of `train` is the same input as."""
    # Hashes, not contents: a large split would be held in memory twice.
    hashes = {hash(as_read(task.content(row))) for row in train}
    return np.array([hash(as_read(task.content(row))) in hashes for row in rows], bool)


def is_first(rows: Sequence[Row], task: Any) -> np.ndarray:
    """(N; bool) which rows are the first of their input with their label."""
    seen: set[int] = set()
    found = []
    for row in rows:
        number = hash((as_read(task.content(row)), str(row.get("tags", row.get("label")))))
        found.append(number not in seen)
        seen.add(number)
    return np.array(found, bool)


def num_that_differ(clusters: np.ndarray) -> int:
    """How many rows prove something by themselves; `clusters`: as of `cluster_of_row`."""
    return len(np.unique(clusters))


def cluster_of_row(rows: Sequence[Row], task: Any) -> np.ndarray:
    """(N) a number for each row, the same for rows of one input or of one group."""
    clusters = np.empty(len(rows), np.int64)
    for number, members in enumerate(together(rows, lambda row: as_read(task.content(row)))):
        clusters[members] = number
    return clusters
