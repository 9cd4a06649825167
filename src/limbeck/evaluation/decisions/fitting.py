"""A temperature, and where it helps a bias for each label, that make probabilities true shares.

    z' = z / T + b          fitted logits; p = softmax(z'), or sigmoid(z') of each label

Both minimise the negative log-likelihood on validation (Guo et al., 2017, arXiv 1706.04599, section
4.2), a convex function of (1 / T, b): Newton's method finds its one minimum. Two deviations:

- Targets are smoothed by one wrong row in n + 2, as Platt's are (1999, section 2.2): of rows that
  are all right the optimum would else be T = 0, a certainty that n rows cannot show.
- Biases have a normal prior of variance 1, for a label that validation hardly has.

A bias can change which label is answered, so it is taken only where it lowers the likelihood's loss
on rows that it was not fitted on, by more than two standard errors.

Rows of one input count once where it is asked whether rows are enough: below 20 that differ nothing
is fitted, and of several labels one that fewer than 5 have, or lack, has no bias.

Shapes: P units, V labels; `inputs` (P): the number of the input that each unit is of
(`distinct.input_of_row`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from limbeck.tasks.likelihood import LIKELIHOODS, is_known, log_softmax, sigmoid
from limbeck.tasks.types import Array

# Of the temperature: beyond, answers are certain or all alike to six digits.
COLDEST, HOTTEST = 0.01, 100.0
MOST_STEPS = 100
FOLDS = 5
# A bias must be better by so many standard errors: it is one parameter for each label.
STANDARD_ERRORS = 2.0
# Fewer inputs than these say nothing of a temperature, or of the bias of a label.
FEWEST_INPUTS = 20
FEWEST_OF_LABEL = 5
# What holds a bias at 0, beside a mean loss of some nats.
FIXED = 1e6
# With more labels, a matrix of labels times labels is slow, and validation has few rows of each.
MOST_LABELS = 300
# Digits that are kept, so that the last bits of a sum change no artifact.
DIGITS = 6

# (inverse temperature and biases) -> loss, gradient, second derivatives.
Loss = Callable[[Array], tuple[float, Array, Array]]


@dataclass(frozen=True)
class Fitted:
    """`temperature` above 0; `bias` (V), or None where none is taken."""

    temperature: float = 1.0
    bias: Array | None = None


def fit(logits: Array, labels: Array, inputs: Array, likelihood: str) -> Fitted:
    """The temperature and biases for logits (P, V) of units whose labels are known or not.

    likelihood: `categorical` or `bernoulli`. What is unknown, and a unit that was not read (all
    its logits are 0), says nothing.

    Raises ValueError for logits that are no finite numbers.
    """
    if not np.isfinite(logits).all():
        wrong = inputs[~np.isfinite(logits).all(-1)]
        raise ValueError(
            f"the artifact answers {len(set(wrong.tolist())):,} inputs of validation with logits "
            "that are no finite numbers: its probabilities mean nothing. Train it with a lower "
            "train.learning_rate, or quantize it by quantize.activations=uint8-dynamic"
        )
    known = is_known(labels)
    # Of several labels of a row some may be known.
    counted = known.reshape(len(labels), -1).any(1) & (logits != 0).any(1)
    wide = logits[counted].astype(np.float64)
    given, of_input = labels[counted], inputs[counted]
    if len(np.unique(of_input)) < FEWEST_INPUTS:
        return Fitted()
    # Rounded here, so that what is judged later is what is written.
    temperature = _temperature(wide, given, likelihood)
    free = known_enough(given, of_input, wide.shape[1])
    is_small = wide.shape[1] <= MOST_LABELS
    if not is_small or not _bias_helps((wide, given), of_input, likelihood, free):
        return Fitted(_rounded(temperature))
    inverse, bias = _with_bias(wide, given, likelihood, free)
    return Fitted(_rounded(1 / inverse), np.array([_rounded(value) for value in bias]))


def known_enough(labels: Array, inputs: Array, num_labels: int) -> Array:
    """(V; bool) of several labels, those that inputs enough have and enough lack. Of labels that
    exclude one another all: 0 is no neutral bias among others, and the prior holds the seldom."""
    if labels.ndim == 1:
        return np.ones(num_labels, bool)
    enough = []
    for column in labels.T:
        sides = [len(np.unique(inputs[column == value])) for value in (0, 1)]
        enough.append(min(sides) >= FEWEST_OF_LABEL)
    return np.array(enough)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _temperature(logits: Array, labels: Array, likelihood: str) -> float:
    """The best temperature alone."""
    loss = LOSSES[likelihood](logits, labels)
    size = logits.shape[1]

    def along(inverse: Array) -> tuple[float, Array, Array]:
        whole = np.concatenate([inverse, np.zeros(size)])
        value, gradient, curvature = loss(whole)
        return value, gradient[:1], curvature[:1, :1]

    (inverse,) = newton(along, np.ones(1))
    return 1 / float(inverse)


def _with_bias(logits: Array, labels: Array, likelihood: str, free: Array) -> tuple[float, Array]:
    """The best inverse temperature, and biases (V), 0 where they are not `free` (V; bool)."""
    loss = LOSSES[likelihood](logits, labels)
    size = logits.shape[1]
    # The prior, in shares of the mean loss over units.
    weight = np.concatenate([[0.0], np.where(free, 1 / len(logits), FIXED)])

    def penalised(at: Array) -> tuple[float, Array, Array]:
        value, gradient, curvature = loss(at)
        prior = float((weight * at * at).sum()) / 2
        return value + prior, gradient + weight * at, curvature + np.diag(weight)

    found = newton(penalised, np.concatenate([[1.0], np.zeros(size)]))
    return float(found[0]), np.where(free, found[1:], 0.0)


def _bias_helps(units: tuple[Array, Array], inputs: Array, likelihood: str, free: Array) -> bool:
    """Whether biases lower the loss on inputs that they were not fitted on, beyond chance; units:
    their logits and labels."""
    logits, labels = units
    names, of_unit = np.unique(inputs, return_inverse=True)
    if not free.any():
        return False
    # Inputs, not units: the words of a sentence are no independent samples.
    fold_of_row = np.random.default_rng(0).permutation(len(names)) % FOLDS
    fold = fold_of_row[of_unit]
    gain = np.zeros(len(logits))
    log_probability = LIKELIHOODS[likelihood].log_probability
    for number in range(FOLDS):
        # Both are fitted on the same rest, and judged on the same rows.
        left_out = fold == number
        rest = logits[~left_out], labels[~left_out]
        inverse, bias = _with_bias(*rest, likelihood, free)
        plain = logits[left_out] / _temperature(*rest, likelihood)
        biased = logits[left_out] * inverse + bias
        own = labels[left_out]
        gain[left_out] = log_probability(biased, own) - log_probability(plain, own)
    by_row = np.bincount(of_unit, gain)
    error = by_row.std(ddof=1) / np.sqrt(len(by_row))
    return bool(by_row.mean() > STANDARD_ERRORS * error)


def newton(loss: Loss, start: Array) -> Array:
    """The minimum of a convex loss by Newton's method, its steps halved until they descend.

    The first number, the inverse temperature, stays within its bounds.
    """
    at = start
    value, gradient, curvature = loss(at)
    for _ in range(MOST_STEPS):
        # 1. The step; where nothing curves (all logits alike) the tiny diagonal keeps it finite.
        ridge = 1e-12 * np.eye(len(at))
        step = np.linalg.solve(curvature + ridge, gradient)
        # 2. As much of it as lowers the loss; none is left at the minimum, but for rounding.
        size = 1.0
        while size > 1e-8:
            trial = at - size * step
            trial[0] = np.clip(trial[0], 1 / HOTTEST, 1 / COLDEST)
            trial_value, trial_gradient, trial_curvature = loss(trial)
            if trial_value < value:
                break
            size /= 2
        else:
            return at
        fall = value - trial_value
        at, value, gradient, curvature = trial, trial_value, trial_gradient, trial_curvature
        if fall < 1e-13 * max(1.0, abs(value)):
            break
    return at


def categorical_loss(logits: Array, labels: Array) -> Loss:
    """The mean negative log-likelihood of one label of V, in nats a unit."""
    num_units, num_labels = logits.shape
    # Of one label alone nothing is wrong, so nothing is smoothed.
    smoothing = 1 / (num_units + 2) if num_labels > 1 else 0.0
    target = np.full(logits.shape, smoothing / max(1, num_labels - 1))
    target[np.arange(num_units), labels] = 1 - smoothing

    def loss(at: Array) -> tuple[float, Array, Array]:
        log_p = log_softmax(at[0] * logits + at[1:])
        p = np.exp(log_p)
        value = -(target * log_p).sum(1).mean()
        # The first parameter multiplies the logits, the others stand alone.
        wrong = p - target
        gradient = np.concatenate([[(wrong * logits).sum()], wrong.sum(0)])
        # The covariance of what each parameter multiplies, under p.
        mean = (p * logits).sum(1)
        curvature = np.empty((num_labels + 1, num_labels + 1))
        curvature[0, 0] = ((p * logits * logits).sum(1) - mean * mean).sum()
        curvature[0, 1:] = (p * (logits - mean[:, None])).sum(0)
        curvature[1:, 0] = curvature[0, 1:]
        curvature[1:, 1:] = np.diag(p.sum(0)) - p.T @ p
        return float(value), gradient / num_units, curvature / num_units

    return loss


def bernoulli_loss(logits: Array, labels: Array) -> Loss:
    """The mean negative log-likelihood of labels that are decided one by one, in nats a unit."""
    num_units, num_labels = logits.shape
    known = is_known(labels)
    # By label, since each is fitted on the rows where it is known.
    smoothing = 1 / (known.sum(0) + 2)
    target = np.where(labels > 0, 1 - smoothing, smoothing)

    def loss(at: Array) -> tuple[float, Array, Array]:
        moved = at[0] * logits + at[1:]
        p = sigmoid(moved)
        nats = np.logaddexp(0, moved) - target * moved
        value = np.where(known, nats, 0).sum() / num_units
        wrong = np.where(known, p - target, 0)
        gradient = np.concatenate([[(wrong * logits).sum()], wrong.sum(0)])
        # Labels are independent: biases curve each for itself, and the temperature with all.
        spread = np.where(known, p * (1 - p), 0)
        curvature = np.zeros((num_labels + 1, num_labels + 1))
        curvature[0, 0] = (spread * logits * logits).sum()
        curvature[0, 1:] = (spread * logits).sum(0)
        curvature[1:, 0] = curvature[0, 1:]
        curvature[1:, 1:] = np.diag(spread.sum(0))
        return float(value), gradient / num_units, curvature / num_units

    return loss


LOSSES = {"categorical": categorical_loss, "bernoulli": bernoulli_loss}
