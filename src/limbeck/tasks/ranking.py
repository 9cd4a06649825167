"""Find the item that belongs to a query, by the cosine of their vectors (two towers: Henderson et al., 2017, arXiv:1705.00652). Metric: the
mean reciprocal rank of a query's item among all distinct items of its split (Voorhees, 1999, TREC-8); beside it recall at 1 and at 10, the share of
queries whose item is among the first. The bootstrap draws queries; the items stay. Items of one cosine stand before the query's own.

A row is a query (`text`), its item (`text_b`), and a `label` that says which item it is: an id, or the item itself (one column may be both). One
label has one text. Its units are the two texts, and the model is that of `sentence_embedding`. In `Encoded`, a label is a number that depends on
nothing but the word, 63 bits of its BLAKE2b digest, because the items of a split need not be those of train: two of a million items share one in
5e-8 of all cases. It stands at the first unit; the second's is UNKNOWN, as is a single text's. What counts as one decision is the cosine of a pair.

One encoder serves both sides, as in E5 (Wang et al., 2022, arXiv:2212.03533), which tells them apart by a prefix; write one into the texts
where a model was trained with it. Two encoders are left out: what matches layers, stores a teacher's answers and answers a single text goes by one
text alone, and a text does not say on which side it stands.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import UNKNOWN, Encoded, Scored, _tokens, _vectors, is_known
from limbeck.tasks.metrics import ranks, ratio

CURE = "An item has one label and one text: take the column of the texts as data.label"


@dataclass(frozen=True)
class Ranking:
    """`labels`: none, as items are no classes; `preprocess`: the text of a `tokenizer.json` with its truncation and padding set."""

    labels: Sequence[str]
    preprocess: str

    metric: ClassVar[str] = "mrr"
    metric_names: ClassVar[tuple[str, ...]] = ("mrr", "recall_at_1", "recall_at_10")
    hard_loss: ClassVar[str] = "in_batch_softmax"
    auto_model: ClassVar[str] = "AutoModel"
    preprocess_file: ClassVar[str] = "tokenizer.json"
    input_names: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask")
    row_keys: ClassVar[tuple[str, ...]] = ("text", "label")
    likelihood: ClassVar[str] = "gaussian"

    @staticmethod
    def find_labels(rows: Sequence[Row]) -> list[str]:
        """None; but every label is checked. Raises ValueError for one without an item, and where labels and texts are not one to one."""
        check_items(rows)
        return []

    @staticmethod
    def stratum(row: Row) -> str:
        return ""

    @staticmethod
    def content(row: Row) -> Any:
        return _tokens.content(row)

    @cached_property
    def tokenizer(self) -> Any:
        return _tokens.open_tokenizer(self.preprocess)

    @cached_property
    def padding(self) -> dict[str, int]:
        return _tokens.padding(self.preprocess)

    def encode(self, rows: Sequence[Row]) -> list[Encoded]:
        labels = [
            _vectors.targets(row, number(row.get("label")), np.int64(UNKNOWN)) for row in rows
        ]
        return _vectors.encode(self.tokenizer, self.padding, rows, labels)

    def row(self, raw: Any) -> Row:
        return _tokens.text_row(raw)

    def decode(self, row: Row, logits: np.ndarray) -> dict[str, Any]:
        return _vectors.decode(logits)

    def scores(self, scored: Scored) -> np.ndarray:
        return _vectors.cosines(scored)

    def statistics(self, scored: Scored) -> np.ndarray:
        """(N, 4): 1, the reciprocal rank of a query's item, and whether it is the first and among the first 10; 0 where the item is unknown."""
        found = np.zeros((len(scored.offsets) - 1, 4))
        known = (np.diff(scored.offsets) == 2) & is_known(scored.labels[scored.offsets[:-1]])
        queries = scored.offsets[:-1][known]
        _, first, own = np.unique(scored.labels[queries], return_index=True, return_inverse=True)
        rank = ranks(scored.logits[queries], scored.logits[queries[first] + 1], own)
        found[known] = np.stack([np.ones(len(rank)), 1 / rank, rank <= 1, rank <= 10], 1)
        return found

    def metrics(self, totals: np.ndarray) -> dict[str, np.ndarray]:
        """Totals (..., 4) to the mean reciprocal rank and the recalls, each in [0, 1]."""
        return {
            name: ratio(totals[..., place], totals[..., 0])
            for place, name in enumerate(self.metric_names, 1)
        }

    def ranked(self, scored: Scored, weights: np.ndarray) -> dict[str, np.ndarray]:
        return {}


def number(label: str | None) -> np.int64:
    """What stands for an item; UNKNOWN without a label."""
    if label is None:
        return np.int64(UNKNOWN)
    return np.int64(
        int.from_bytes(hashlib.blake2b(label.encode(), digest_size=8).digest(), "big") >> 1
    )


def check_items(rows: Sequence[Row]) -> None:
    """Raises ValueError where a labelled row has no item, no row is labelled, or labels and texts are not one to one."""
    texts: dict[str, str] = {}
    labels: dict[str, str] = {}
    for place, row in enumerate(rows, 1):
        label = row["label"]
        if label is None:
            continue
        if "text_b" not in row:
            raise ValueError(
                f"row {place} has no item (`text_b`). Name the column of the items with data.text_b"
            )
        if not isinstance(label, str):
            raise ValueError(
                f"row {place}: label: {label!r} is several, and a query has one item. Leave data.label_separator out"
            )
        if texts.setdefault(label, row["text_b"]) != row["text_b"]:
            raise ValueError(
                f"row {place}: `{label[:60]}` has the text {row['text_b'][:60]!r} here and {texts[label][:60]!r} before. {CURE}"
            )
        if labels.setdefault(row["text_b"], label) != label:
            raise ValueError(
                f"row {place}: {row['text_b'][:60]!r} has the label `{label[:60]}` here and `{labels[row['text_b']][:60]}` before. {CURE}"
            )
    if not texts:
        raise ValueError(
            "no row has a label, which says what its item is. Give it one: data.label may name the column of data.text_b"
        )
