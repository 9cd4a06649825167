"""What the logits of one unit say of its label: the half for tensors, `tasks/likelihood.py` being
the one without torch. Divergences are in nats; a loss multiplies them by T^2 itself.

    categorical   KL = sum_v p_v (log p_v - log q_v),               p = softmax(z)
    bernoulli     KL = sum_v p_v (z_v - w_v) + log((1 + e^w_v) / (1 + e^z_v)),   p = sigmoid(z)
    gaussian      KL = sum_v (z_v - w_v)^2 / 2,                     variances 1

The Fisher information of a unit's logits is the Hessian of its divergence at identity: of a softmax
diag(p) - p p^T, of Bernoullis diag(p (1 - p)), of unit normals the identity (Martens, 2014, arXiv
1412.1193).

Shapes: B rows, W units, V logits of a unit.
"""

import math
from collections.abc import Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from limbeck.models.precision import in_float64
from limbeck.models.running import run_model
from limbeck.tasks import Batch
from limbeck.tasks.likelihood import TOLERANCE, UNKNOWN


class UnitLikelihood(Protocol):
    """What each likelihood answers of tensors.

    `labels_are_numbers`: whether a label is measured rather than chosen from a list.
    """

    labels_are_numbers: ClassVar[bool]

    def log_probability(
        self,
        logits: Tensor,
        labels: Tensor,
    ) -> Tensor:
        """(B, W) log p(label) in nats of (B, W, V); 0 where the label is unknown."""
        ...

    def divergence(
        self,
        p: Tensor,
        q: Tensor,
    ) -> Tensor:
        """(B, W) KL(p || q) in nats, of logits (B, W, V); 0 at identity."""
        ...

    def at_temperature(
        self,
        logits: Tensor,
        temperature: float,
    ) -> Tensor:
        """(B, W, V) the logits of p^(1/T) / Z: above 1, `temperature` makes answers less sure."""
        ...

    def decide(self, logits: Tensor) -> Tensor:
        """The most probable label: (B, W) indices, (B, W, V) of bool, or (B, W, V) numbers."""
        ...

    def agreement(
        self,
        p: Tensor,
        q: Tensor,
    ) -> Tensor:
        """(B, W) the share of a unit's decisions, in [0, 1], that two models make alike."""
        ...

    def entropy(self, logits: Tensor) -> Tensor:
        """(B, W) in nats for each decision, which is a label where each is decided by itself."""
        ...

    def fisher_root(
        self,
        logits: Tensor,
        signs: Tensor,
    ) -> Tensor:
        """(B, W, V) h with E[h h^T] = the Fisher information of a unit's logits, the expectation
        over random `signs` (B, W, V) of -1 and 1."""
        ...


class Categorical:
    """One label of V."""

    labels_are_numbers: ClassVar[bool] = False

    def log_probability(
        self,
        logits: Tensor,
        labels: Tensor,
    ) -> Tensor:
        known = labels != UNKNOWN
        # UNKNOWN is no column: the first is read in its place, and thrown away. A selection by
        # `known` would make the host wait for the device.
        columns = torch.where(known, labels, 0).unsqueeze(-1)
        log_p = logits.log_softmax(-1)
        chosen = log_p.gather(-1, columns).squeeze(-1)
        return torch.where(known, chosen, 0)

    def divergence(
        self,
        p: Tensor,
        q: Tensor,
    ) -> Tensor:
        # From log-probabilities: the logarithm of a rounded probability may be that of 0.
        return divergence(p.log_softmax(-1), q.log_softmax(-1))

    def at_temperature(
        self,
        logits: Tensor,
        temperature: float,
    ) -> Tensor:
        return logits / temperature

    def decide(self, logits: Tensor) -> Tensor:
        # The softmax keeps their order.
        return logits.argmax(-1)

    def agreement(
        self,
        p: Tensor,
        q: Tensor,
    ) -> Tensor:
        is_same = self.decide(p) == self.decide(q)
        return is_same.float()

    def entropy(self, logits: Tensor) -> Tensor:
        log_p = logits.log_softmax(-1)
        return -(log_p.exp() * log_p).sum(-1)

    def fisher_root(
        self,
        logits: Tensor,
        signs: Tensor,
    ) -> Tensor:
        """sqrt(p) e - p (sqrt(p) . e) with signs e: its outer product's mean is diag(p) - p p^T."""
        root = logits.softmax(-1).sqrt()
        signed = root * signs
        return signed - root.square() * signed.sum(-1, keepdim=True)


class Bernoulli:
    """Any number of V labels, each by itself."""

    labels_are_numbers: ClassVar[bool] = False

    def log_probability(
        self,
        logits: Tensor,
        labels: Tensor,
    ) -> Tensor:
        # log p is z - softplus(z), and log (1 - p) is - softplus(z).
        of_each_label = labels * logits - softplus(logits)
        counted = torch.where(labels != UNKNOWN, of_each_label, 0)
        return counted.sum(-1)

    def divergence(
        self,
        p: Tensor,
        q: Tensor,
    ) -> Tensor:
        of_each_label = p.sigmoid() * (p - q) + softplus(q) - softplus(p)
        return of_each_label.sum(-1)

    def at_temperature(
        self,
        logits: Tensor,
        temperature: float,
    ) -> Tensor:
        return logits / temperature

    def decide(self, logits: Tensor) -> Tensor:
        # The sigmoid is above one half where its argument is above 0.
        return logits > 0

    def agreement(
        self,
        p: Tensor,
        q: Tensor,
    ) -> Tensor:
        # Each label is a decision, so that a unit of many labels is rarely alike in all.
        is_same = self.decide(p) == self.decide(q)
        return is_same.float().mean(-1)

    def entropy(self, logits: Tensor) -> Tensor:
        # The entropy of p is the cross-entropy of p against itself.
        nats = binary_cross_entropy_with_logits(logits, logits.sigmoid(), reduction="none")
        return nats.mean(-1)

    def fisher_root(
        self,
        logits: Tensor,
        signs: Tensor,
    ) -> Tensor:
        p = logits.sigmoid()
        # The square root of each variance; labels do not depend on each other.
        return (p * (1 - p)).sqrt() * signs


class Gaussian:
    """A number, or a vector of V, each of variance 1."""

    labels_are_numbers: ClassVar[bool] = True

    def log_probability(
        self,
        logits: Tensor,
        labels: Tensor,
    ) -> Tensor:
        """Of one logit a unit."""
        squared_error = (logits.squeeze(-1) - labels).square()
        # Of a density, which may exceed 1: the constant is that of a normal distribution.
        nats = squared_error / 2 + math.log(2 * math.pi) / 2
        return torch.where(labels.isnan(), 0, -nats)

    def divergence(
        self,
        p: Tensor,
        q: Tensor,
    ) -> Tensor:
        return (p - q).square().sum(-1) / 2

    def at_temperature(
        self,
        logits: Tensor,
        temperature: float,
    ) -> Tensor:
        """As they are: the mean of a flattened normal distribution stays where it is."""
        return logits

    def decide(self, logits: Tensor) -> Tensor:
        return logits

    def agreement(
        self,
        p: Tensor,
        q: Tensor,
    ) -> Tensor:
        is_same = (p - q).abs() <= TOLERANCE
        return is_same.float().mean(-1)

    def entropy(self, logits: Tensor) -> Tensor:
        """log(2 pi e) / 2, whatever the mean."""
        nats = math.log(2 * math.pi * math.e) / 2
        return torch.full_like(logits[..., 0], nats)

    def fisher_root(
        self,
        logits: Tensor,
        signs: Tensor,
    ) -> Tensor:
        # All variances are 1.
        return signs


LIKELIHOODS: dict[str, UnitLikelihood] = {
    "categorical": Categorical(),
    "bernoulli": Bernoulli(),
    "gaussian": Gaussian(),
}


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """(B, W) KL(p || q) in nats, of log-probabilities (B, W, V) over labels."""
    # Losses call it with the log-probabilities that they have, softened or standardised.
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def wide_logits(model: nn.Module, batches: Sequence[Batch]) -> list[Tensor]:
    """(B, W, V) of each batch, without gradients, in float64 (`in_float64`).

    Wide, because the divergence that one int8 weight causes is of the size of float32's rounding.
    """
    with torch.no_grad():
        return [in_float64(run_model(model, batch).logits) for batch in batches]
