"""Any number of labels for a text, or for a pair of texts. Metric: micro F1 over all labels; macro F1 and the share of rows with every label right
("exact match", subset accuracy; Zhang and Zhou, 2014, IEEE TKDE 26(8), section 2.2) beside it, and the label ranking average precision ("lrap",
Schapire and Singer, 2000, BoosTexter): of a row's labels, the mean share of true ones among those that score as much, over the rows that have one.

A label is decided by itself, where its logit is above 0: a probability above one half. Where few labels pass that, `lrap` still tells whether the
right ones come first. A row's `label` is the list of those it has, which may be empty; None says that nothing is known of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import UNKNOWN, Encoded, Scored, _tokens
from limbeck.tasks.metrics import average_precisions, precision_recall_f1, ratio


@dataclass(frozen=True)
class MultiLabelClassification:
    """`labels` in order of the logits; `preprocess`: the text of a `tokenizer.json` with its truncation and padding set."""

    labels: Sequence[str]
    preprocess: str

    metric: ClassVar[str] = "micro_f1"
    metric_names: ClassVar[tuple[str, ...]] = ("micro_f1", "macro_f1", "exact_match", "lrap")
    hard_loss: ClassVar[str] = "binary_cross_entropy"
    auto_model: ClassVar[str] = "AutoModelForSequenceClassification"
    preprocess_file: ClassVar[str] = "tokenizer.json"
    input_names: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask")
    row_keys: ClassVar[tuple[str, ...]] = ("text", "label")
    likelihood: ClassVar[str] = "bernoulli"

    @staticmethod
    def find_labels(rows: Sequence[Row]) -> list[str]:
        """Every label, sorted. Raises ValueError for a row whose label is no list."""
        for number, row in enumerate(rows, 1):
            if isinstance(row["label"], str):
                problem = (
                    f"row {number}: the label {row['label']!r} is one, and this task reads several"
                )
                raise ValueError(
                    f'{problem}. Say what stands between them: data.label_separator: ";" (a list needs it too)'
                )
        return sorted({label for row in rows for label in row["label"] or ()})

    @staticmethod
    def stratum(row: Row) -> str:
        return "; ".join(sorted(row["label"] or ()))

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
        return _tokens.encode(
            self.tokenizer, rows, [self.targets(row.get("label")) for row in rows]
        )

    def targets(self, label: Sequence[str] | None) -> np.ndarray:
        """(1, V) whether a row has each label; UNKNOWN where nothing is known."""
        values = [UNKNOWN if label is None else float(name in label) for name in self.labels]
        return np.array([values], np.float32)

    def row(self, raw: Any) -> Row:
        return _tokens.text_row(raw)

    def decode(self, row: Row, logits: np.ndarray) -> dict[str, Any]:
        """(1, V) logits to the labels that the row has, and the probability of each label."""
        probabilities = 0.5 * (
            1 + np.tanh(0.5 * logits[0].astype(np.float64))
        )  # the sigmoid, without overflow
        named = list(zip(self.labels, logits[0], probabilities, strict=True))
        return {
            "labels": [label for label, logit, _ in named if logit > 0],
            "probabilities": {
                label: round(float(probability), 6) for label, _, probability in named
            },
        }

    def statistics(self, scored: Scored) -> np.ndarray:
        """(N, 3 V + 4): hits, predictions and true rows of each label, exact rows, labelled rows, average precisions, rows that have a label; what
        is unknown counts nowhere."""
        known = scored.labels != UNKNOWN
        predicted, true = (scored.logits > 0) & known, (scored.labels > 0) & known
        is_row, has_label = known.any(1, keepdims=True), true.any(1, keepdims=True)
        exact = (predicted == true).all(1, keepdims=True) & is_row
        precisions = average_precisions(np.where(known, scored.logits, -np.inf), true)[:, None]
        return np.concatenate(
            [predicted & true, predicted, true, exact, is_row, precisions, has_label], 1
        ).astype(np.float64)

    def metrics(self, totals: np.ndarray) -> dict[str, np.ndarray]:
        """Totals (..., 3 V + 4) to micro F1, macro F1, exact match and label ranking average precision, each in [0, 1]."""
        hits, predicted, true = np.split(totals[..., :-4], 3, -1)
        micro = precision_recall_f1(hits.sum(-1), predicted.sum(-1), true.sum(-1))[2]
        macro = precision_recall_f1(hits, predicted, true)[2].mean(-1)
        exact, rows, precisions, with_label = np.moveaxis(totals[..., -4:], -1, 0)
        return {
            "micro_f1": micro,
            "macro_f1": macro,
            "exact_match": ratio(exact, rows),
            "lrap": ratio(precisions, with_label),
        }

    def ranked(self, scored: Scored, weights: np.ndarray) -> dict[str, np.ndarray]:
        """No metric of this task is read from the order of scores."""
        return {}
