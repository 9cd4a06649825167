"""Which way the terms of a training pull, and how far the student is from its teacher; looked at a few times a training, before the pass backward.

    agreement          share of the units counted on both sides, or of their labels where each is decided by itself, for which both decide alike
    student_entropy    of the student's answers in nats, - sum_v q log q, the mean over the same; teacher_entropy of the teacher's
    pull.TERM          the norm of a weighted term's gradient over the sum of all terms' norms
    cosine.TERM.TERM   between the gradients of two terms: below 0 they work against each other (Yu et al., 2020, arXiv 2001.06782)

Gradients are those of the student's first layer, which every term reaches on its way back; GradNorm (Chen et al., 2018, arXiv 1711.02257,
section 3.1) takes the last layer that its tasks share, but a loss on an inner layer does not reach that one.

`distill.balance: gradients` keeps every soft term's gradient, at weight 1, as long as that of the task's own loss: its factor is the ratio of the two
norms, a moving average over the probes. GradNorm learns such factors by a loss of their own; at a handful of probes the ratio is all it can know.
"""

from dataclasses import dataclass, field
from itertools import combinations

import torch
from torch import nn
from torch.distributions import Bernoulli, Categorical

from limbeck.core.events import Note, Tell
from limbeck.distillation.objective import Objective
from limbeck.models.layers import layer_names
from limbeck.models.taps import Outputs

DROWNS = 0.97  # a term's share of all pulls
IN_A_ROW = 3  # probes that must find it
KEPT = 0.5  # of a factor's former value, from one probe to the next

Gradients = dict[str, list[torch.Tensor]]


@dataclass
class Probe:
    """`layer`: the parameters that gradients are taken of; `balanced`: whether it sets the objective's factors; `likelihood`: the task's."""

    objective: Objective
    layer: list[nn.Parameter]
    tell: Tell
    balanced: bool = False
    likelihood: str = "categorical"
    drowning: dict[str, int] = field(default_factory=dict)

    def __call__(
        self,
        student: Outputs,
        teacher: Outputs | None,
        parts: dict[str, torch.Tensor],
        progress: float,
    ) -> dict[str, float]:
        """Figures by name."""
        found = disagreement(student, teacher, self.likelihood) if teacher is not None else {}
        weights = self.objective.weights(progress)
        gradients = {
            name: self.gradient(weights[name] * part)
            for name, part in parts.items()
            if part.requires_grad
        }
        norms = {name: dot(own, own) ** 0.5 for name, own in gradients.items()}
        pulls = {name: norm / sum(norms.values()) for name, norm in norms.items() if norm}
        if len(pulls) > 1:
            found |= {f"pull.{name}": share for name, share in pulls.items()}
            found |= {
                f"cosine.{a}.{b}": dot(gradients[a], gradients[b]) / (norms[a] * norms[b])
                for a, b in combinations(pulls, 2)
            }
            self.watch(pulls, weights)
        if self.balanced and norms.get("task"):
            self.balance(
                {name: norms["task"] / norm for name, norm in norms.items() if norm},
                first=progress == 0,
            )
        return found

    def gradient(self, term: torch.Tensor) -> list[torch.Tensor]:
        """Of a weighted term, parameter after parameter."""
        own = torch.autograd.grad(term, self.layer, retain_graph=True, allow_unused=True)
        return [
            torch.zeros_like(p) if g is None else g for g, p in zip(own, self.layer, strict=True)
        ]

    def watch(self, pulls: dict[str, float], weights: dict[str, float]) -> None:
        """Tell, once, of a term that leaves the others nothing."""
        for name, share in pulls.items():
            self.drowning[name] = self.drowning.get(name, 0) + 1 if share > DROWNS else 0
            if self.drowning[name] == IN_A_ROW:
                fair = weights[name] * (1 - share) / share
                self.tell(
                    Note(
                        f"warning: the term `{name}` drowns the others: {share:.1%} of the gradient is its. Lower its weight to about {fair:.2g}"
                    )
                )

    def balance(self, ratios: dict[str, float], *, first: bool) -> None:
        """Bring each soft term's factor towards what makes its gradient as long as the task's. `ratios`: task over term, as weighted now."""
        for index, term in enumerate(self.objective.terms):
            if term.name != "task" and term.name in ratios:
                factor = self.objective.factors[index]
                fitting = ratios[term.name] * factor
                self.objective.factors[index] = (
                    fitting if first else KEPT * factor + (1 - KEPT) * fitting
                )


def first_layer(model: nn.Module) -> list[nn.Parameter]:
    """The trained matrices of the first of the model's layers; of the whole model where it has no list of layers."""
    names = layer_names(model)
    module = model.get_submodule(names[0]) if names else model
    return [
        parameter
        for parameter in module.parameters()
        if parameter.requires_grad and parameter.ndim > 1
    ]


@torch.no_grad()
def disagreement(student: Outputs, teacher: Outputs, likelihood: str) -> dict[str, float]:
    """Agreement and both entropies, over what counts on both sides; nothing of a gaussian, whose answers are numbers."""
    mask = student.mask & teacher.mask
    if likelihood == "gaussian" or not mask.any():
        return {}
    own, theirs = student.logits[mask].float(), teacher.logits[mask].float()
    by_itself = likelihood == "bernoulli"
    same = (own > 0) == (theirs > 0) if by_itself else own.argmax(-1) == theirs.argmax(-1)
    answer = Bernoulli if by_itself else Categorical
    entropies = {
        f"{side}_entropy": answer(logits=logits).entropy().mean().item()
        for side, logits in (("student", own), ("teacher", theirs))
    }
    return {"agreement": same.float().mean().item(), **entropies}


def dot(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    """The inner product of two gradients."""
    return sum(float((a.double() * b.double()).sum()) for a, b in zip(one, other, strict=True))
