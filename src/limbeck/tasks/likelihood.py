"""What the logits of one unit say of its label: the half without torch. `models/likelihood.py` is
the half for tensors, and tests hold the two equal.

    name          the label of a unit              what its logits z say
    categorical   one of V labels                  p_v = softmax(z)_v
    bernoulli     any number of V labels           p_v = sigmoid(z_v), each label by itself
    gaussian      a number, or a vector of V       y_v is normal with mean z_v and variance 1

A task says which is its own (`task.likelihood`). Whoever needs to know what logits mean (losses,
metrics, parity, the search for collapsed models) asks `LIKELIHOODS[task.likelihood]` and nothing
else, so that a new likelihood is a class here and a class there.

Shapes: P units, V logits of each. Labels are (P) int64 indices (categorical), (P, V) float32 of 0
and 1 (bernoulli), or (P) float32 numbers (gaussian). `UNKNOWN`, or NaN for a number, is the label
of a unit of which nobody said what it is.
"""

import math
from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np

from limbeck.tasks.types import Array

# What `transformers` writes for "no label", and what torch's cross entropy ignores by default.
UNKNOWN = -100

# Two numbers, in shares of the range of the labels, are one decision while they differ by no more.
# A value on the edge of two integer levels falls to either side in another runtime, and a number,
# unlike a label, shows that: of 1,500 pairs of STS-B half differed by 6e-8, 1 % by more than 0.004
# and one by 0.013.
TOLERANCE = 0.02


class UnitLikelihood(Protocol):
    """What each likelihood answers.

    `labels_are_numbers`: whether a label is measured rather than chosen from a list.
    """

    name: ClassVar[str]
    labels_are_numbers: ClassVar[bool]

    def log_probability(
        self,
        logits: Array,
        labels: Array,
    ) -> Array:
        """(P) log p(label) in nats, at most 0 unless labels are numbers; 0 where it is unknown."""
        ...

    def divergence(
        self,
        logits: Array,
        other: Array,
    ) -> Array:
        """(P) KL(p || q) in nats, p by `logits` and q by `other`, both (P, V); 0 if they agree."""
        ...

    def at_temperature(
        self,
        logits: Array,
        temperature: float,
    ) -> Array:
        """(P, V) the logits of p^(1/T) / Z: above 1, `temperature` makes answers less sure."""
        ...

    def decide(self, logits: Array) -> Array:
        """The most probable label: (P) indices, (P, V) of bool, or (P, V) numbers."""
        ...

    def differ(
        self,
        decisions: Array,
        other: Array,
    ) -> Array:
        """Whether each decision is another than that of `other`; bool, of their shape."""
        ...

    def is_one_answer(self, decisions: Array) -> bool:
        """Whether all units, at least one, are decided alike."""
        ...

    def in_words(
        self,
        decisions: Array,
        labels: Sequence[str],
    ) -> str:
        """The one answer of all units, for a message; `labels`: the names of the labels."""
        ...

    def constant_answers(
        self,
        labels: Array,
        num_logits: int,
    ) -> list[Array]:
        """(V) logits, one for every unit: each is the best constant by some metric."""
        ...


class Categorical:
    """One label of V: the largest logit's."""

    name: ClassVar[str] = "categorical"
    labels_are_numbers: ClassVar[bool] = False

    def log_probability(
        self,
        logits: Array,
        labels: Array,
    ) -> Array:
        known = is_known(labels)
        # UNKNOWN is no column: the first is read in its place, and thrown away.
        columns = np.where(known, labels, 0)
        log_p = log_softmax(logits)
        chosen = np.take_along_axis(log_p, columns[:, None], 1)[:, 0]
        return np.where(known, chosen, 0)

    def divergence(
        self,
        logits: Array,
        other: Array,
    ) -> Array:
        log_p = log_softmax(logits)
        log_q = log_softmax(other)
        return (np.exp(log_p) * (log_p - log_q)).sum(-1)

    def at_temperature(
        self,
        logits: Array,
        temperature: float,
    ) -> Array:
        return logits / temperature

    def decide(self, logits: Array) -> Array:
        # The softmax keeps their order. Of equal logits the first label is chosen.
        return logits.argmax(-1)

    def differ(
        self,
        decisions: Array,
        other: Array,
    ) -> Array:
        return decisions != other

    def is_one_answer(self, decisions: Array) -> bool:
        return bool((decisions == decisions[0]).all())

    def in_words(
        self,
        decisions: Array,
        labels: Sequence[str],
    ) -> str:
        return f"`{labels[int(decisions[0])]}`"

    def constant_answers(
        self,
        labels: Array,
        num_logits: int,
    ) -> list[Array]:
        """The label that most units have."""
        known_labels = labels[is_known(labels)]
        counts = np.bincount(known_labels, minlength=num_logits)
        one_hot = np.zeros(len(counts), np.float32)
        one_hot[counts.argmax()] = 1
        return [one_hot]


class Bernoulli:
    """Any number of labels: each whose own logit is above 0, a probability above one half."""

    name: ClassVar[str] = "bernoulli"
    labels_are_numbers: ClassVar[bool] = False

    def log_probability(
        self,
        logits: Array,
        labels: Array,
    ) -> Array:
        wide = logits.astype(np.float64)
        # log p is z - softplus(z), and log (1 - p) is - softplus(z).
        of_each_label = labels * wide - softplus(wide)
        counted = np.where(is_known(labels), of_each_label, 0)
        return counted.sum(-1)

    def divergence(
        self,
        logits: Array,
        other: Array,
    ) -> Array:
        p = logits.astype(np.float64)
        q = other.astype(np.float64)
        # From the logits: log (1 - p) of a rounded p would be that of 0.
        of_each_label = sigmoid(p) * (p - q) + softplus(q) - softplus(p)
        return of_each_label.sum(-1)

    def at_temperature(
        self,
        logits: Array,
        temperature: float,
    ) -> Array:
        return logits / temperature

    def decide(self, logits: Array) -> Array:
        # The sigmoid is above one half where its argument is above 0.
        return logits > 0

    def differ(
        self,
        decisions: Array,
        other: Array,
    ) -> Array:
        return decisions != other

    def is_one_answer(self, decisions: Array) -> bool:
        return bool((decisions == decisions[0]).all())

    def in_words(
        self,
        decisions: Array,
        labels: Sequence[str],
    ) -> str:
        chosen = np.flatnonzero(decisions[0]).tolist()
        return ", ".join(f"`{labels[i]}`" for i in chosen) or "no label"

    def constant_answers(
        self,
        labels: Array,
        num_logits: int,
    ) -> list[Array]:
        """The set with the best micro F1, all labels (best macro F1), the set that most units have
        (exact match), and the labels in order of their frequency (ranking precision)."""
        known = is_known(labels)
        true = (labels > 0) & known
        # A label that is unknown everywhere has no share to divide.
        shares = true.sum(0) / np.maximum(known.sum(0), 1)
        sets = [
            most_micro_f1(true, known),
            np.ones(num_logits, bool),
            most_frequent_set(true, known),
        ]
        answers = [np.where(is_in_set, 1, -1) for is_in_set in sets]
        # Less one half, so that what most units have is also decided for.
        answers.append(shares - 0.5)
        return [logits.astype(np.float32) for logits in answers]


class Gaussian:
    """A number, in shares of the range of the labels, or a vector."""

    name: ClassVar[str] = "gaussian"
    labels_are_numbers: ClassVar[bool] = True

    def log_probability(
        self,
        logits: Array,
        labels: Array,
    ) -> Array:
        """Of one logit a unit."""
        error = logits[:, 0].astype(np.float64) - labels
        # Of a density, which may exceed 1: the constant is that of a normal distribution.
        nats = error**2 / 2 + math.log(2 * math.pi) / 2
        return np.where(is_known(labels), -nats, 0)

    def divergence(
        self,
        logits: Array,
        other: Array,
    ) -> Array:
        # Wide before the difference: that of two near numbers loses digits.
        difference = logits.astype(np.float64) - other
        return (difference**2).sum(-1) / 2

    def at_temperature(
        self,
        logits: Array,
        temperature: float,
    ) -> Array:
        """As they are: the mean of a flattened normal distribution stays where it is."""
        return logits

    def decide(self, logits: Array) -> Array:
        return logits.astype(np.float64)

    def differ(
        self,
        decisions: Array,
        other: Array,
    ) -> Array:
        return np.abs(decisions - other) > TOLERANCE

    def is_one_answer(self, decisions: Array) -> bool:
        # The whole spread, not the distance to the first: that could be twice the tolerance.
        return bool(np.ptp(decisions) <= TOLERANCE)

    def in_words(
        self,
        decisions: Array,
        labels: Sequence[str],
    ) -> str:
        return f"a score of {decisions.mean():.3g}"

    def constant_answers(
        self,
        labels: Array,
        num_logits: int,
    ) -> list[Array]:
        """The mean of the labels; where an answer is a vector, one vector, and any is as good."""
        if num_logits > 1:
            # Labels of vectors are of their pairs, and say nothing of a single one.
            return [np.ones(num_logits, np.float32)]
        # The mean has the least square error, and a rank correlation of 0 like any constant.
        mean = labels[is_known(labels)].mean()
        return [np.full(1, mean, np.float32)]


LIKELIHOODS: dict[str, UnitLikelihood] = {
    "categorical": Categorical(),
    "bernoulli": Bernoulli(),
    "gaussian": Gaussian(),
}


def is_known(labels: Array) -> Array:
    """Whether each label, of any shape, is known."""
    # Indices have no NaN, and for numbers, whose range is 0 to 1, UNKNOWN would do as well.
    return ~np.isnan(labels) & (labels != UNKNOWN)


def softmax(logits: Array) -> Array:
    """Probabilities over the last axis; the largest logit is taken off first against overflow."""
    below_largest = logits - logits.max(-1, keepdims=True)
    exponent = np.exp(below_largest)
    return exponent / exponent.sum(-1, keepdims=True)


def log_softmax(logits: Array) -> Array:
    """Log-probabilities over the last axis, in float64."""
    wide = logits.astype(np.float64)
    below_largest = wide - wide.max(-1, keepdims=True)
    # At least 1, that of the largest: the logarithm is finite.
    total = np.exp(below_largest).sum(-1, keepdims=True)
    return below_largest - np.log(total)


def sigmoid(logits: Array) -> Array:
    """1 / (1 + exp(-z)), by tanh, which does not overflow."""
    return 0.5 * (1 + np.tanh(0.5 * logits))


def softplus(logits: Array) -> Array:
    """log(1 + exp(z)), without overflow."""
    return np.logaddexp(0, logits)


def most_micro_f1(true: Array, known: Array) -> Array:
    """(V; bool) the set of labels that, answered for every unit, has the best micro F1.

    It is the k most frequent labels for some k, whose micro F1 is 2 h / (n + t): of their n known
    entries h are true, and t entries of all labels are.
    """
    by_frequency = np.argsort(-true.sum(0), kind="stable")
    hits = true.sum(0)[by_frequency].cumsum()
    entries = known.sum(0)[by_frequency].cumsum()
    # The factor 2 changes no order and is left out.
    micro_f1 = hits / np.maximum(entries + true.sum(), 1)
    best = by_frequency[: micro_f1.argmax() + 1]
    return np.isin(np.arange(len(by_frequency)), best)


def most_frequent_set(true: Array, known: Array) -> Array:
    """(V; bool) the set of labels that most of the labelled units have."""
    sets, counts = np.unique(true[known.any(1)], axis=0, return_counts=True)
    return sets[counts.argmax()]
