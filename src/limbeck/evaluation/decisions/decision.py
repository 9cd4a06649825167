"""How an artifact's logits become its answers: what decision.json says.

```
{"schema": 1, "temperature": 1.31, "bias": null, "label_thresholds": null, "costs": null,
 "promise": {"max_error": 0.02, "confidence": 0.95, "threshold": 0.83, ...}, "sets": null}
```
`temperature`, `bias`: of the fitted logits (`fitting.py`). `label_thresholds`: (V) from which
probability each of several labels is given. `costs`: (V, V), rows the true label, columns the
answered one (`thresholds.py`). `promise`: of the rows that are answered (`promise.py`). `sets`:
labels that hold the true one (`conformal.py`). What is null is not used.

A row's confidence is the probability that all its decisions are right, its units (the words of a
sentence, the labels of several) taken as independent: the product of their probabilities. A row is
wrong where any of its decisions is.

Shapes: P units, W of one row, V labels, N rows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from limbeck.evaluation.by_row import any_by_row, is_wrong
from limbeck.evaluation.decisions.conformal import sets
from limbeck.evaluation.decisions.distinct import input_of_row
from limbeck.evaluation.decisions.promise import Judged
from limbeck.evaluation.decisions.thresholds import cheapest
from limbeck.sources import Row
from limbeck.tasks import Scored, Task
from limbeck.tasks.likelihood import LIKELIHOODS, is_known, sigmoid, softmax
from limbeck.tasks.types import Answer, Array

FILE = "decision.json"
SCHEMA = 1
PROBABILITIES = {"categorical": softmax, "bernoulli": sigmoid}
# What a user reads has six digits.
DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What decision.json holds; one of an artifact without the file changes nothing."""

    likelihood: str
    temperature: float = 1.0
    bias: Array | None = None
    label_thresholds: Array | None = None
    costs: Array | None = None
    promise: Mapping[str, Any] | None = None
    sets: Mapping[str, Any] | None = None

    def fitted(self, logits: Array) -> Array:
        """(P, V) logits whose probabilities are true shares, as far as validation can say."""
        if self.temperature == 1 and self.bias is None:
            return logits
        # float64, in which a rescaled float32 logit keeps its place among the others.
        moved = logits.astype(np.float64) / self.temperature
        if self.bias is None:
            return moved
        # A word that is not read has the logits 0, which stand for "outside" (`tasks/heads/tags`).
        is_read = (logits != 0).any(-1, keepdims=True)
        return np.where(is_read, moved + self.bias, moved)

    def probabilities(self, logits: Array) -> Array:
        """(P, V) in float64. Raises KeyError for a likelihood whose answers are numbers."""
        return PROBABILITIES[self.likelihood](self.fitted(logits).astype(np.float64))

    def decided(self, logits: Array) -> Array | None:
        """(P) or (P, V) the decisions; None where the fitted logits themselves say them."""
        # A recipe may ask for one of these two: costs are of one label, thresholds of several.
        if self.costs is not None:
            return cheapest(self.probabilities(logits), self.costs)
        if self.label_thresholds is not None:
            return self.probabilities(logits) > self.label_thresholds
        return None

    def decisions(self, logits: Array) -> Array:
        """(P) the indices of labels, (P, V) whether each label is given, or (P, V) numbers."""
        decided = self.decided(logits)
        if decided is not None:
            return decided
        return LIKELIHOODS[self.likelihood].decide(self.fitted(logits))

    def scored(self, scored: Scored) -> Scored:
        """The artifact's answers as it gives them, from its logits on a split."""
        decided = self.decided(scored.logits)
        return replace(scored, logits=self.fitted(scored.logits), decided=decided)

    def confidence(self, logits: Array, offsets: Array) -> Array:
        """(N) the probability that all decisions of a row are right, in [0, 1]."""
        p = self.probabilities(logits)
        decided = self.decisions(logits)
        if self.likelihood == "categorical":
            of_unit = np.take_along_axis(p, decided[:, None], 1)
        else:
            of_unit = np.where(decided, p, 1 - p)
        # A sum of logarithms, because the product of many words underflows.
        tiny = np.finfo(np.float64).tiny
        logs = np.log(np.maximum(of_unit, tiny)).sum(1)
        # Added in order, so that a row alone has the last bits that it has within a split.
        row_of_unit = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        sums = np.bincount(row_of_unit, logs, minlength=len(offsets) - 1)
        confidence = np.exp(sums)
        # Logits that are no numbers are no confidence, however they compare.
        return np.where(np.isnan(confidence), 0.0, confidence)

    def judged(self, scored: Scored, *, once: bool = False) -> Judged:
        """Confidence of the rows that have a label, and whether each is answered wrongly; `scored`:
        the artifact's own logits.

        once: rows of one input count once, as wrong where any of them is.
        """
        wrong_units = is_wrong(self.decisions(scored.logits), scored.labels)
        known = any_by_row(is_known(scored.labels), scored.offsets)
        wrong = any_by_row(wrong_units, scored.offsets)
        # Of all units, as when it is answered: nobody knows then which have a label.
        confidence = self.confidence(scored.logits, scored.offsets)
        if once:
            inputs = input_of_row(scored.logits, scored.offsets)
            _, first, of_row = np.unique(inputs[known], return_index=True, return_inverse=True)
            return Judged(confidence[known][first], np.bincount(of_row, wrong[known]) > 0)
        return Judged(confidence[known], wrong[known])

    @property
    def threshold(self) -> float | None:
        """The confidence from which on rows are answered; 1 and more where no promise could be
        made, so that none is; None where none was asked for."""
        if self.promise is None:
            return None
        # Fail safe: a program that asks for a promise and gets none must not take the answers.
        found = self.promise["threshold"]
        return math.inf if found is None else float(found)

    def answer(self, task: Task, row: Row, logits: Array) -> Answer:
        """What a user is answered to a row of logits (W, V)."""
        answer = task.decode(row, self.fitted(logits))
        decided = self.decided(logits)
        if decided is not None:
            _decide(answer, task.labels, decided[0])
        if self.sets is not None:
            least = self.sets["least_probability"]
            # Of too few held-out rows every label is in the set.
            chosen = sets(self.probabilities(logits)[0], 0.0 if least is None else least)
            answer["set"] = [task.labels[index] for index in np.flatnonzero(chosen).tolist()]
        threshold = self.threshold
        if threshold is not None:
            (confidence,) = self.confidence(logits, np.array([0, len(logits)])).tolist()
            answer["confidence"] = round(confidence, DIGITS)
            answer["abstain"] = confidence < threshold
        return answer

    def to_json(self) -> dict[str, Any]:
        """The content of decision.json."""
        arrays = {
            name: None if (value := getattr(self, name)) is None else value.tolist()
            for name in ("bias", "label_thresholds", "costs")
        }
        return {
            "schema": SCHEMA,
            "temperature": self.temperature,
            **arrays,
            "promise": self.promise,
            "sets": self.sets,
        }

    @classmethod
    def of(cls, content: Any, task: Task) -> "Decision":
        """What decision.json says of a task's answers. Raises ValueError where it says nothing that
        could be meant."""
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ValueError(f"{FILE}: schema {SCHEMA} was expected. Export the artifact again")
        size = len(task.labels)
        temperature: Any = content.get("temperature")
        if not _is_number(temperature) or temperature <= 0:
            raise ValueError(f"{FILE}: temperature: a number above 0 was expected")
        return cls(
            likelihood=task.likelihood,
            temperature=float(temperature),
            bias=_array(content, "bias", (size,)),
            label_thresholds=_array(content, "label_thresholds", (size,)),
            costs=_array(content, "costs", (size, size)),
            promise=_section(content, "promise", "threshold"),
            sets=_section(content, "sets", "least_probability"),
        )


def _decide(answer: Answer, labels: Sequence[str], decided: Array) -> None:
    """Put the decision into an answer that was decoded without it."""
    if "labels" in answer:
        answer["labels"] = [labels[index] for index in np.flatnonzero(decided).tolist()]
    elif "label" in answer:
        answer["label"] = labels[int(decided)]
        answer["probability"] = answer["probabilities"][answer["label"]]


def _is_number(value: Any) -> bool:
    # To Python `true` is an int.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _array(content: Mapping[str, Any], key: str, shape: tuple[int, ...]) -> Array | None:
    """The numbers at a key. Raises ValueError for what are none, or of another shape."""
    value = content.get(key)
    if value is None:
        return None
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{FILE}: {key}: numbers of shape {shape} were expected")
    return array


def _section(content: Mapping[str, Any], key: str, number: str) -> dict[str, Any] | None:
    """A section with its one number, which may be null. Raises ValueError for anything else."""
    value = content.get(key)
    if value is None:
        return None
    is_section = isinstance(value, dict) and number in value
    if not is_section or not (value[number] is None or _is_number(value[number])):
        raise ValueError(f"{FILE}: {key}: keys with a number `{number}` were expected")
    return dict(value)
