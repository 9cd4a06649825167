"""One label of several that exclude one another.

    accuracy   the share of rows whose largest logit is the true label's
    macro F1   the mean of the labels' F1
    AUC        `tasks.metrics.macro_auc` of the probabilities, where a task asks for it

Rows whose label is unknown count nowhere. Shapes: N rows of one unit each, V labels.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import Scored
from limbeck.tasks.likelihood import LIKELIHOODS, UNKNOWN, is_known, softmax
from limbeck.tasks.metrics import label_report, macro_auc, precision_recall_f1, ratio
from limbeck.tasks.types import Answer, Array, Figures, Names, Rows


@dataclass(frozen=True)
class OneOfSeveral(ABC):
    """What the two heads of this file share; a row has its label, or None, in `label`."""

    labels: Sequence[str]

    metric: ClassVar[str] = "accuracy"
    hard_loss: ClassVar[str] = "cross_entropy"
    likelihood: ClassVar[str] = "categorical"
    row_keys: ClassVar[Names] = ("label",)

    @staticmethod
    def find_labels(rows: Rows) -> list[str]:
        """Every label, sorted: numbers by value, then words."""
        labels = {row["label"] for row in rows if row["label"] is not None}
        return sorted(labels, key=sort_key)

    @staticmethod
    def stratum(row: Row) -> str:
        return str(row["label"])

    @cached_property
    def targets_by_label(self) -> dict[str | None, Array]:
        # Rows of one label share an array: a million rows would make as many.
        return {label: np.array([index], np.int64) for index, label in enumerate(self.labels)}

    @cached_property
    def unknown(self) -> Array:
        return np.array([UNKNOWN], np.int64)

    def targets(self, row: Row) -> Array:
        """(1) the index of the row's label, UNKNOWN where it has none."""
        return self.targets_by_label.get(row.get("label"), self.unknown)

    def decode(self, row: Row, logits: Array) -> Answer:
        """(1, V) logits to the label, its probability and all probabilities."""
        probabilities = softmax(logits[0].astype(np.float64))
        best = int(probabilities.argmax())
        by_label = {}
        for label, probability in zip(self.labels, probabilities, strict=True):
            by_label[label] = round(float(probability), 6)
        label = self.labels[best]
        return {"label": label, "probability": by_label[label], "probabilities": by_label}

    def decisions(self, scored: Scored) -> Array:
        """(N) the index of the most probable label."""
        return LIKELIHOODS[self.likelihood].decide(scored.logits)

    def statistics(self, scored: Scored) -> Array:
        """(N, 3 V): of each label, whether it is rightly predicted, predicted, and true."""
        known = is_known(scored.labels)[:, None]
        one_hot = np.eye(len(self.labels))
        predicted = one_hot[self.decisions(scored)] * known
        true = one_hot[np.where(known[:, 0], scored.labels, 0)] * known
        return np.concatenate([predicted * true, predicted, true], 1)

    def metrics(self, totals: Array) -> Figures:
        """Totals (..., 3 V) to accuracy and macro F1, each in [0, 1]."""
        hits, predicted, true = np.split(totals, 3, -1)
        _, _, f1 = precision_recall_f1(hits, predicted, true)
        accuracy = ratio(hits.sum(-1), true.sum(-1))
        return {"accuracy": accuracy, "macro_f1": f1.mean(-1)}

    @abstractmethod
    def ranked(self, scored: Scored, weights: Array) -> Figures: ...

    def details(self, scored: Scored) -> Answer:
        """The report by label, and the confusions."""
        return label_report(scored.labels, self.decisions(scored), self.labels)


class OneLabel(OneOfSeveral):
    """Judged by accuracy and macro F1."""

    metric_names: ClassVar[Names] = ("accuracy", "macro_f1")

    def ranked(self, scored: Scored, weights: Array) -> Figures:
        """None: every metric is a function of sums over rows."""
        return {}


class OneLabelWithAuc(OneOfSeveral):
    """Judged by accuracy, macro F1 and macro AUC."""

    metric_names: ClassVar[Names] = ("accuracy", "macro_f1", "auc")

    def ranked(self, scored: Scored, weights: Array) -> Figures:
        """(R) the macro AUC in [0, 1] under each row of `weights` (R, N)."""
        known = is_known(scored.labels)
        probabilities = softmax(scored.logits[known].astype(np.float64))
        return {"auc": macro_auc(probabilities, scored.labels[known], weights[:, known])}


def sort_key(label: str) -> tuple[int, int, str]:
    """Numbers by value, before words by letter."""
    return (0, int(label), "") if label.isdecimal() else (1, 0, label)
