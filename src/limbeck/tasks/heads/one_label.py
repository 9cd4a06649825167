"""One label of several that exclude one another.

    accuracy   the share of rows whose largest logit is the true label's
    macro F1   the mean of the labels' F1, of those that stand in rows or answers
    AUC        `tasks.metrics.macro_auc` of the probabilities, where a task asks for it

Rows whose label is unknown count nowhere. Shapes: N rows of one unit each, V labels.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import Scored
from limbeck.tasks.likelihood import LIKELIHOODS, UNKNOWN, is_known, softmax
from limbeck.tasks.metrics import defined, label_report, macro, macro_auc, precision_recall_f1
from limbeck.tasks.types import Answer, Array, Figures, Names, Rows

# Not all that `float` takes: `nan`, `1e5` and `1_0` are names.
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


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
        """Every label, sorted: numbers by value, then words.

        Raises ValueError for a row whose label is a list.
        """
        for number, row in enumerate(rows, 1):
            if isinstance(row["label"], list):
                raise ValueError(
                    f"row {number}: its label is a list, and this task reads one label of a row. "
                    "Give one, or take a task that reads several (`limbeck list tasks`)"
                )
        labels = {row["label"] for row in rows}
        # None is what an unlabelled row has, and no label.
        labels.discard(None)
        return sorted(labels, key=sort_key)

    @staticmethod
    def stratum(row: Row) -> str:
        # Unlabelled rows are a stratum of their own.
        return str(row["label"])

    @cached_property
    def targets_by_label(self) -> dict[str | None, Array]:
        # Rows of one label share an array: a million rows would make as many.
        by_label: dict[str | None, Array] = {}
        for index, label in enumerate(self.labels):
            by_label[label] = np.array([index], np.int64)
        return by_label

    @cached_property
    def unknown(self) -> Array:
        return np.array([UNKNOWN], np.int64)

    def targets(self, row: Row) -> Array:
        """(1) the index of the row's label, UNKNOWN where it has none."""
        # A user's row has no key `label` at all. A label that train lacks was refused before.
        label = row.get("label")
        return self.targets_by_label.get(label, self.unknown)

    def decode(
        self,
        row: Row,
        logits: Array,
    ) -> Answer:
        """(1, V) logits to the label, its probability and all probabilities."""
        # Six digits are shown, and float32 would leave seven.
        probabilities = softmax(logits[0].astype(np.float64))
        label = self.labels[int(probabilities.argmax())]
        # All at once: of 77 labels one by one took a tenth of an answer's time.
        by_label = dict(zip(self.labels, probabilities.round(6).tolist(), strict=True))
        return {"label": label, "probability": by_label[label], "probabilities": by_label}

    def decisions(self, scored: Scored) -> Array:
        """(N) the index of the most probable label, or what was decided otherwise."""
        if scored.decided is not None:
            return scored.decided
        return LIKELIHOODS[self.likelihood].decide(scored.logits)

    def statistics(self, scored: Scored) -> Array:
        """(N, 3 V): of each label, whether it is rightly predicted, predicted, and true."""
        known = is_known(scored.labels)
        # UNKNOWN is negative, and would be another label's row of the table below.
        labels = np.where(known, scored.labels, 0)
        one_hot = np.eye(len(self.labels))
        counts = known[:, None]
        predicted = one_hot[self.decisions(scored)] * counts
        true = one_hot[labels] * counts
        hits = predicted * true
        return np.concatenate([hits, predicted, true], 1)

    def metrics(self, totals: Array) -> Figures:
        """Totals (..., 3 V) to accuracy and macro F1, each in [0, 1], NaN without labelled rows."""
        hits, predicted, true = np.split(totals, 3, -1)
        _, _, f1 = precision_recall_f1(hits, predicted, true)
        # A row has one label, so that the true ones are as many as the labelled rows.
        num_rows = true.sum(-1)
        accuracy = defined(hits.sum(-1), num_rows)
        return {"accuracy": accuracy, "macro_f1": macro(f1, predicted + true > 0)}

    @abstractmethod
    def ranked(
        self,
        scored: Scored,
        weights: Array,
    ) -> Figures: ...

    def details(self, scored: Scored) -> Answer:
        """The report by label, and the confusions."""
        return label_report(scored.labels, self.decisions(scored), self.labels)


class OneLabel(OneOfSeveral):
    """Judged by accuracy and macro F1."""

    metric_names: ClassVar[Names] = ("accuracy", "macro_f1")

    def ranked(
        self,
        scored: Scored,
        weights: Array,
    ) -> Figures:
        """None: every metric is a function of sums over rows."""
        return {}


class OneLabelWithAuc(OneOfSeveral):
    """Judged by accuracy, macro F1 and macro AUC."""

    metric_names: ClassVar[Names] = ("accuracy", "macro_f1", "auc")

    def ranked(
        self,
        scored: Scored,
        weights: Array,
    ) -> Figures:
        """(R) the macro AUC in [0, 1] under each row of `weights` (R, N)."""
        known = is_known(scored.labels)
        logits = scored.logits[known].astype(np.float64)
        # Not the logits: what one says of a row depends on the others'.
        probabilities = softmax(logits)
        labels = scored.labels[known]
        return {"auc": macro_auc(probabilities, labels, weights[:, known])}


def sort_key(label: str) -> tuple[int, float, str]:
    """Numbers by value, before words by letter.

    Numbers of one value (`1` and `01`) go by letter: a set has them in an order of its own, another
    in every process.
    """
    # By letter, "10" would come before "2".
    return (0, float(label), label) if NUMBER.fullmatch(label) else (1, 0.0, label)
