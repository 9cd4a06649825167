"""Any number of labels, each decided by itself: it is given where its logit is above 0, which is a
probability above one half.

    micro_f1      F1 over all labels of all rows
    macro_f1      the mean of the labels' F1; of one that stands in no row and no answer it is 0
    exact_match   the share of rows with every label right (subset accuracy; Zhang and Zhou, 2014,
                  IEEE TKDE 26(8), section 2.2)
    lrap          label ranking average precision (Schapire and Singer, 2000, BoosTexter): of a
                  row's labels, the mean share of true ones among all that score as much or more

`lrap` tells whether the right labels come first even where few pass one half. It is taken over the
rows that have a label; scikit-learn counts a row without one as 1. What is unknown counts nowhere.

Shapes: N rows of one unit each, V labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import Scored
from limbeck.tasks.heads.one_label import sort_key
from limbeck.tasks.likelihood import LIKELIHOODS, UNKNOWN, is_known, sigmoid
from limbeck.tasks.metrics import average_precisions, defined, precision_recall_f1, report
from limbeck.tasks.types import Answer, Array, Figures, Names, Rows

# Of `statistics`, the last columns: what is not told label by label.
NUM_ROW_FIGURES = 4


@dataclass(frozen=True)
class SeveralLabels:
    """A row has its labels in `label`: a list, which may be empty, or None where nobody said."""

    labels: Sequence[str]

    metric: ClassVar[str] = "micro_f1"
    metric_names: ClassVar[Names] = ("micro_f1", "macro_f1", "exact_match", "lrap")
    hard_loss: ClassVar[str] = "binary_cross_entropy"
    likelihood: ClassVar[str] = "bernoulli"
    row_keys: ClassVar[Names] = ("label",)

    @staticmethod
    def find_labels(rows: Rows) -> list[str]:
        """Every label, sorted: numbers by value, then words.

        Raises ValueError for a row whose label is no list.
        """
        labels: set[str] = set()
        for number, row in enumerate(rows, 1):
            label = row["label"]
            # Of one text each letter would be taken for a label.
            if isinstance(label, str):
                raise ValueError(
                    f"row {number}: the label {label!r} is one, and this task reads several. "
                    'Say what stands between them: data.label_separator: ";" (a list needs it too)'
                )
            labels.update(label or ())
        return sorted(labels, key=sort_key)

    @staticmethod
    def stratum(row: Row) -> str:
        """Rows of the same set of labels."""
        # Sorted: a table may name a row's labels in any order.
        return "; ".join(sorted(row["label"] or ()))

    def targets(self, row: Row) -> Array:
        """(1, V) 1 where the row has a label, 0 where not, UNKNOWN where nothing is known."""
        given = row.get("label")
        # An empty list is known: the row has none of the labels.
        if given is None:
            values = [float(UNKNOWN)] * len(self.labels)
        else:
            values = [float(label in given) for label in self.labels]
        return np.array([values], np.float32)

    def decode(
        self,
        row: Row,
        logits: Array,
    ) -> Answer:
        """(1, V) logits to the labels that the row has, and the probability of each label."""
        row_logits = logits[0]
        probabilities = sigmoid(row_logits.astype(np.float64))
        chosen = []
        by_label = {}
        for index, label in enumerate(self.labels):
            by_label[label] = round(float(probabilities[index]), 6)
            # By the logit, as everywhere: a probability is rounded.
            if row_logits[index] > 0:
                chosen.append(label)
        return {"labels": chosen, "probabilities": by_label}

    def decisions(self, scored: Scored) -> Array:
        """(N, V) whether each label is given, or what was decided otherwise."""
        if scored.decided is not None:
            return scored.decided
        return LIKELIHOODS[self.likelihood].decide(scored.logits)

    def statistics(self, scored: Scored) -> Array:
        """(N, 3 V + 4): of each label, whether it is rightly predicted, predicted, and true; then
        whether the row is exactly right, whether it is labelled, its average precision, and whether
        it has a label."""
        known = is_known(scored.labels)
        # What is unknown is neither predicted nor true, so that it is neither right nor wrong.
        predicted = self.decisions(scored) & known
        true = (scored.labels > 0) & known
        is_labelled = known.any(1, keepdims=True)
        has_label = true.any(1, keepdims=True)
        # A row of which nothing is known would be right in all of nothing.
        is_exact = (predicted == true).all(1, keepdims=True)
        is_exact &= is_labelled
        # A label of which nothing is known stands behind all others.
        scores = np.where(known, scored.logits, -np.inf)
        precisions = average_precisions(scores, true)
        hits = predicted & true
        by_label = [hits, predicted, true]
        by_row = [is_exact, is_labelled, precisions[:, None], has_label]
        return np.concatenate([*by_label, *by_row], 1).astype(np.float64)

    def metrics(self, totals: Array) -> Figures:
        """Totals (..., 3 V + 4) to the four metrics, each in [0, 1]."""
        by_label = totals[..., :-NUM_ROW_FIGURES]
        by_row = totals[..., -NUM_ROW_FIGURES:]
        hits, predicted, true = np.split(by_label, 3, -1)
        exact, labelled, precisions, with_label = np.moveaxis(by_row, -1, 0)
        # Micro: the counts of all labels together. Macro: each label's figure counts alike.
        sums = [counts.sum(-1) for counts in (hits, predicted, true)]
        _, _, micro_f1 = precision_recall_f1(*sums)
        _, _, f1 = precision_recall_f1(hits, predicted, true)
        return {
            "micro_f1": micro_f1,
            "macro_f1": np.nan_to_num(f1).mean(-1),
            "exact_match": defined(exact, labelled),
            # Not over all rows: one without a label has no order of labels that could be wrong.
            "lrap": defined(precisions, with_label),
        }

    def ranked(
        self,
        scored: Scored,
        weights: Array,
    ) -> Figures:
        """None: the ranking precision hangs on the order within a row, not on other rows."""
        return {}

    def details(self, scored: Scored) -> Answer:
        """The report by label; labels that do not exclude one another have no confusions."""
        totals = self.statistics(scored).sum(0)
        by_label = totals[:-NUM_ROW_FIGURES]
        hits, predicted, true = np.split(by_label, 3)
        # Each label is a decision of every row, whether some row has it or not.
        counted = np.ones(len(self.labels), bool)
        return {"per_label": report((hits, predicted, true), self.labels, counted)}
