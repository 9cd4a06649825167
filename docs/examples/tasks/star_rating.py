"""The stars that a text, or a pair of texts, gives: labels that are numbers in order.

    within_one           the share of rows that are missed by one star at most
    accuracy, macro F1   as in `heads/one_label.py`

Rows whose label is unknown count nowhere.
"""

from typing import ClassVar

import numpy as np

from limbeck.tasks import Scored
from limbeck.tasks.heads.one_label import OneOfSeveral
from limbeck.tasks.inputs.text import TextInput
from limbeck.tasks.joined import JoinedTask
from limbeck.tasks.likelihood import is_known
from limbeck.tasks.metrics import ratio
from limbeck.tasks.types import Array, Figures, Names


class _Stars(OneOfSeveral):
    """The labels stand in the order of their numbers."""

    metric: ClassVar[str] = "within_one"
    metric_names: ClassVar[Names] = ("within_one", "accuracy", "macro_f1")

    def ranked(
        self,
        scored: Scored,
        weights: Array,
    ) -> Figures:
        """(R) in [0, 1], under each row of `weights` (R, N)."""
        known = is_known(scored.labels)
        missed_by = np.abs(self.decisions(scored) - scored.labels)
        is_close = (missed_by <= 1) & known
        return {"within_one": ratio(weights @ is_close, weights @ known)}


class StarRating(JoinedTask):
    """`labels`: the numbers of stars, from the least; `preprocess`: a `tokenizer.json`."""

    input_type = TextInput
    head_type = _Stars
    auto_model = "AutoModelForSequenceClassification"
