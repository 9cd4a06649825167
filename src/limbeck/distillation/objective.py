"""The weighted sum of losses that one training minimises:

    L = a * task(y) + sum_k b_k * loss_k(student, teacher) + lambda * mean (Q(w) - w)^2 [+ mu * sum alpha^2, with `ranges/pact`]

Every weight, and every temperature, is a number or a schedule over the training's progress. Every term is logged by itself, and a weight of 0
switches one off (it is not computed).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from limbeck.core import registry
from limbeck.core.errors import Diverged
from limbeck.core.schedules import Schedule, schedule
from limbeck.losses import Loss, PeerLoss, Tempered
from limbeck.models.taps import Outputs
from limbeck.recipe.model import Distill, Weight
from limbeck.tasks import Batch


@dataclass(frozen=True)
class Term:
    """One loss and its weight."""

    name: str
    weight: Schedule
    loss: Loss


Penalty = tuple[Schedule, Callable[[], torch.Tensor]]


class Objective(nn.Module):
    """`terms` on outputs and `penalties` on the model itself by name: (weight schedule, () -> what is penalised)."""

    def __init__(
        self, terms: Sequence[Term], penalties: Mapping[str, Penalty] | None = None
    ) -> None:
        super().__init__()
        self.terms = terms
        self.penalties = penalties or {}
        self.losses = nn.ModuleList(
            [term.loss for term in terms if isinstance(term.loss, nn.Module)]
        )
        self.factors = nn.Buffer(
            torch.ones(len(terms))
        )  # of each term's weight, where a probe balances them

    def forward(
        self, student: Outputs, teacher: Outputs, batch: Batch, progress: float
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """(total, each term by name, unweighted, with their gradients). Raises Diverged naming the term that is not finite."""
        total = student.logits.new_zeros(())
        parts: dict[str, torch.Tensor] = {}
        for term, factor in zip(self.terms, self.factors, strict=True):
            if weight := term.weight(progress):
                if isinstance(term.loss, PeerLoss):
                    term.loss.at(progress)
                if isinstance(term.loss, Tempered):
                    term.loss.temperature = term.loss.temperatures(progress)
                parts[term.name] = over_labels(term.loss, student, teacher, batch)
                total = total + weight * factor * parts[term.name]
        for name, (schedule_of_weight, penalty) in self.penalties.items():
            if weight := schedule_of_weight(progress):
                parts[name] = penalty()
                total = total + weight * parts[name]
        if not torch.isfinite(total):
            broken = [name for name, part in parts.items() if not torch.isfinite(part)] or ["total"]
            raise Diverged(
                f"the loss term `{broken[0]}` is not finite. Lower train.learning_rate or this term's weight"
            )
        return total, parts

    def weights(self, progress: float) -> dict[str, float]:
        """The weight of every term by name, its factor included; of the switched-off ones too."""
        own = {
            term.name: term.weight(progress) * factor
            for term, factor in zip(self.terms, self.factors.tolist(), strict=True)
        }
        return own | {name: weight(progress) for name, (weight, _) in self.penalties.items()}


def over_labels(loss: Loss, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
    """A loss on a batch. Where rows are mixtures, a hard loss, whichever it is, is the mean of those of the two labels by their shares (Zhang et al.,
    2017, arXiv 1710.09412, equation 1: it is linear in the label); a soft loss compares answers to the mixture itself."""
    found = loss(student, teacher, batch)
    if batch.mixed is None or loss.reads:
        return found
    labels, share = batch.mixed
    return share * found + (1 - share) * loss(
        student, teacher, replace(batch, labels=labels, mixed=None)
    )


def hard_terms(task_loss: str, weight: Weight = 1.0) -> list[Term]:
    """The task's own loss alone."""
    return [Term("task", schedule(weight), registry.create("losses", task_loss))]


def terms(task_loss: str, distill: Distill | None) -> list[Term]:
    """The terms that a recipe's `distill` asks for; without it the task's own loss."""
    if distill is None:
        return hard_terms(task_loss)
    soft = []
    for name, options in distill.losses.items():
        if options.get("weight") == 0:
            continue  # nothing it reads is asked of the teacher
        own = {key: value for key, value in options.items() if key != "weight"}
        soft.append(
            Term(name, schedule(options.get("weight", 1.0)), registry.create("losses", name, own))
        )
    return [*hard_terms(task_loss, distill.task_weight), *soft]
