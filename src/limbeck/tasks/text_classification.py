"""One label for a text, or for a pair of texts. Metric: accuracy, the share of rows whose largest logit is the true label; macro F1 beside it.

A pair is read as the tokenizer joins it (`[CLS] a [SEP] b [SEP]`), the longer text cut first. Deviation from BERT (Devlin et al., 2018,
arXiv:1810.04805, section 3.2): no segment ids, so that a teacher and a student of any family read the same inputs; the separator tells the two apart
(MiniLM-L6 on 3,000 pairs of STS-B, one seed: Spearman .827 without them, .830 with them).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import Encoded, Scored, _single_label, _tokens


@dataclass(frozen=True)
class TextClassification:
    """`labels` in order of the logits; `preprocess`: the text of a `tokenizer.json` with its truncation and padding set."""

    labels: Sequence[str]
    preprocess: str

    metric: ClassVar[str] = "accuracy"
    metric_names: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")
    hard_loss: ClassVar[str] = "cross_entropy"
    auto_model: ClassVar[str] = "AutoModelForSequenceClassification"
    preprocess_file: ClassVar[str] = "tokenizer.json"
    input_names: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask")
    row_keys: ClassVar[tuple[str, ...]] = ("text", "label")
    likelihood: ClassVar[str] = "categorical"

    @staticmethod
    def find_labels(rows: Sequence[Row]) -> list[str]:
        return _single_label.find_labels(rows)

    @staticmethod
    def stratum(row: Row) -> str:
        return str(row["label"])

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
        return _tokens.encode(self.tokenizer, rows, _single_label.encode_labels(rows, self.labels))

    def row(self, raw: Any) -> Row:
        return _tokens.text_row(raw)

    def decode(self, row: Row, logits: np.ndarray) -> dict[str, Any]:
        """(1, V) logits to the label, its probability and all probabilities."""
        return _single_label.decode(self.labels, logits)

    def statistics(self, scored: Scored) -> np.ndarray:
        """(N, 3 V): hits, predictions and true rows of each label, row by row."""
        return _single_label.statistics(scored, len(self.labels))

    def metrics(self, totals: np.ndarray) -> dict[str, np.ndarray]:
        """Totals (..., 3 V) to accuracy and macro F1, each in [0, 1]."""
        return _single_label.metrics(totals)

    def ranked(self, scored: Scored, weights: np.ndarray) -> dict[str, np.ndarray]:
        """No metric of this task is read from the order of scores."""
        return {}
