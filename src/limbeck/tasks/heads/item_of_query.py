"""A vector for a query and one for its item; the item is to be the nearest of all items.

    mrr             the mean reciprocal rank of a query's item among all distinct items of its split
                    (Voorhees, 1999, TREC-8)
    recall_at_1,    the share of queries whose item is the first, or among the first ten
    recall_at_10

Items of one cosine stand before the query's own, so that a model that gives one vector for
everything ranks last. The bootstrap draws queries; the items stay. What counts as one decision is
the cosine of a pair.

A label is a number that depends on nothing but the word, 63 bits of its BLAKE2b digest, because the
items of a split need not be those of train. Two of a million items share a number in 5e-8 of all
cases: (10^6)^2 / 2 pairs over 2^63. Shapes: P units, N rows.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import Scored
from limbeck.tasks.heads import vectors
from limbeck.tasks.likelihood import UNKNOWN, is_known
from limbeck.tasks.metrics import defined, ranks
from limbeck.tasks.types import Answer, Array, Figures, Names, Rows

# What both mismatches are mended by.
CURE = "An item has one label and one text: take the column of the texts as data.label"

# Characters of a label or text that an error message shows.
SHOWN = 60


@dataclass(frozen=True)
class ItemOfQuery:
    """`labels`: none, as items are no classes.

    A row has the query in `text`, its item in `text_b`, and in `label` which item that is: an id,
    or the item itself.
    """

    labels: Sequence[str]

    metric: ClassVar[str] = "mrr"
    metric_names: ClassVar[Names] = ("mrr", "recall_at_1", "recall_at_10")
    hard_loss: ClassVar[str] = "in_batch_softmax"
    likelihood: ClassVar[str] = "gaussian"
    row_keys: ClassVar[Names] = ("label",)

    @staticmethod
    def find_labels(rows: Rows) -> list[str]:
        """None. Raises ValueError for a label without an item, and where labels and texts of items
        are not one to one."""
        check_items(rows)
        return []

    @staticmethod
    def stratum(row: Row) -> str:
        """One for all: items are not drawn in shares."""
        return ""

    def targets(self, row: Row) -> Array:
        """(W) the item's number at the first of a pair; UNKNOWN elsewhere."""
        # A user's row has no key `label` at all.
        item = item_number(row.get("label"))
        return vectors.targets(row, item, np.int64(UNKNOWN))

    def decode(
        self,
        row: Row,
        logits: Array,
    ) -> Answer:
        return vectors.decode(logits)

    def decisions(self, scored: Scored) -> Array:
        """(P) the cosine of each pair at its first unit, NaN elsewhere."""
        return vectors.cosines(scored)

    def statistics(self, scored: Scored) -> Array:
        """(N, 4): 1, the reciprocal rank of a query's item, and whether it is the first and among
        the first ten; 0 where the item is unknown."""
        first_units = scored.offsets[:-1]
        has_item = is_known(scored.labels[first_units])
        known = vectors.is_pair(scored) & has_item
        queries = first_units[known]
        # Of the rows with one item, the first gives its vector.
        labels = scored.labels[queries]
        _, first_row, item = np.unique(labels, return_index=True, return_inverse=True)
        items = scored.logits[queries[first_row] + 1]
        rank = ranks(scored.logits[queries], items, item)
        columns = [np.ones(len(rank)), 1 / rank, rank <= 1, rank <= 10]
        # Rows whose item is unknown stay 0 in every column, the count of queries too.
        statistics = np.zeros((len(first_units), len(columns)))
        statistics[known] = np.stack(columns, 1)
        return statistics

    def metrics(self, totals: Array) -> Figures:
        """Totals (..., 4) to the three metrics, each in [0, 1]."""
        # The columns of `statistics` after the first are the metrics in their order.
        num_queries = totals[..., 0]
        named = enumerate(self.metric_names, 1)
        return {name: defined(totals[..., column], num_queries) for column, name in named}

    def ranked(
        self,
        scored: Scored,
        weights: Array,
    ) -> Figures:
        """None: the rank of an item hangs on the items, which every resample keeps."""
        return {}

    def details(self, scored: Scored) -> Answer:
        """None: there are no labels to tell apart."""
        return {}


def item_number(label: str | None) -> np.int64:
    """What stands for an item; UNKNOWN without a label."""
    if label is None:
        return np.int64(UNKNOWN)
    digest = hashlib.blake2b(label.encode(), digest_size=8).digest()
    # One bit less than the digest has, so that no number is negative, as UNKNOWN is.
    return np.int64(int.from_bytes(digest, "big") >> 1)


def check_items(rows: Rows) -> None:
    """Raises ValueError where a labelled row has no item, no row is labelled, or labels and texts
    are not one to one."""
    text_of: dict[str, str] = {}
    label_of: dict[str, str] = {}
    for place, row in enumerate(rows, 1):
        label = row["label"]
        # A query of which nobody knows the item is read in training all the same.
        if label is None:
            continue
        if "text_b" not in row:
            raise ValueError(
                f"row {place} has no item (`text_b`). Name the column of the items with data.text_b"
            )
        if not isinstance(label, str):
            raise ValueError(
                f"row {place}: label: {label!r} is several, and a query has one item. "
                "Leave data.label_separator out"
            )
        # One item with two texts would be two vectors, of which one counts as wrong.
        text = row["text_b"]
        former_text = text_of.setdefault(label, text)
        if former_text != text:
            raise ValueError(
                f"row {place}: `{label[:SHOWN]}` has the text {text[:SHOWN]!r} here "
                f"and {former_text[:SHOWN]!r} before. {CURE}"
            )
        # Two items with one text cannot be told apart: one vector would be right and wrong.
        former_label = label_of.setdefault(text, label)
        if former_label != label:
            raise ValueError(
                f"row {place}: {text[:SHOWN]!r} has the label `{label[:SHOWN]}` here "
                f"and `{former_label[:SHOWN]}` before. {CURE}"
            )
    if not text_of:
        raise ValueError(
            "no row has a label, which says what its item is. "
            "Give it one: data.label may name the column of data.text_b"
        )
