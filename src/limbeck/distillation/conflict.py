"""Which way the terms of a training pull, and how far the student is from its teacher.

| figure | what |
|---|---|
| agreement | share of the units counted on both sides for which both decide alike |
| student_entropy | of the student's answers, - sum_v q log q in nats, the mean over the same |
| teacher_entropy | of the teacher's answers |
| pull.TERM | the norm of a weighted term's gradient over the sum of all terms' norms |
| cosine.TERM.TERM | between the gradients of two terms: below 0 they work against each other |

Where labels do not exclude one another, `agreement` and entropies are over labels, each by itself.
The cosine is of gradient surgery (Yu et al., 2020, arXiv 2001.06782). Figures are taken a few
times a training, before the pass backward.

Gradients are those of the student's first layer, which every term reaches on its way back.
GradNorm (Chen et al., 2018, arXiv 1711.02257, section 3.1) takes the last layer that its tasks
share, but a loss on an inner layer does not reach that one.

`distill.balance: gradients` keeps every soft term's gradient, at weight 1, as long as that of the
task's own loss: its factor is the ratio of the two norms, a moving average over the probes.
GradNorm learns such factors by a loss of their own; at a handful of probes the ratio is all it can
know.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

import torch
from torch import Tensor, nn

from limbeck.core.events import Note, Reporter
from limbeck.distillation.objective import Objective
from limbeck.losses import masked_mean
from limbeck.models.anatomy.layers import layer_names
from limbeck.models.likelihood import LIKELIHOODS
from limbeck.models.precision import widest_dtype
from limbeck.models.processes import mean_over_processes
from limbeck.models.projection import in_chunks
from limbeck.models.taps import Outputs, by_order, some_units

DROWNS = 0.97  # a term's share of all pulls from which on the others count for nothing
IN_A_ROW = 3  # probes that must find it before it is told: a single batch may be odd
KEPT = 0.5  # of a factor's former value from one probe to the next: an average of about two probes

Gradient = list[Tensor]


@dataclass
class ConflictProbe:
    """Measures a training (`training.job.Watchers.measure`).

    `layer`: the parameters that gradients are taken of. `balanced`: whether it sets the
    objective's factors. `likelihood`: the task's. `keys`: of the recipe, by the term whose weight
    they are. `drowning`: for each term, in how many probes in a row it left the others nothing.
    """

    objective: Objective
    layer: list[nn.Parameter]
    tell: Reporter
    balanced: bool = False
    likelihood: str = "categorical"
    keys: Mapping[str, str] = field(default_factory=dict)
    drowning: dict[str, int] = field(default_factory=dict)

    def __call__(
        self,
        student: Outputs,
        teacher: Outputs | None,
        parts: Mapping[str, Tensor],
        progress: float,
    ) -> dict[str, float]:
        """The figures by name, of a step whose terms are `parts`. This waits for the device."""
        # 1. Everything on the device.
        #    The weights are a look too: the factors lie there.
        weights = self.objective.weights(progress)
        gradients = {}
        for name, part in parts.items():
            if part.requires_grad:
                weighted = weights[name] * part
                gradients[name] = self.gradient(weighted)
        products = products_of(gradients)
        asked = {}
        if teacher is not None:
            asked = disagreement(student, teacher, self.likelihood)
        # 2. One look at it from the host.
        values = on_host([*asked.values(), *products.values()])
        figures = dict(zip(asked, values, strict=False))
        product = dict(zip(products, values[len(asked) :], strict=True))
        if not figures.pop("num_units", 0):
            figures = {}
        # 3. What follows from the products of gradients.
        norms = {name: product[name, name] ** 0.5 for name in gradients}
        total = sum(norms.values())
        pulls = {name: norm / total for name, norm in norms.items() if norm}
        # One term alone pulls all, whatever its gradient.
        if len(pulls) > 1:
            for name, share in pulls.items():
                figures[f"pull.{name}"] = share
            for one, other in combinations(pulls, 2):
                both_norms = norms[one] * norms[other]
                figures[f"cosine.{one}.{other}"] = product[one, other] / both_norms
            self.warn_of_drowning(pulls, weights)
        # Without a gradient of the task's own loss there is nothing to be as long as.
        if self.balanced and norms.get("task"):
            ratios = {name: norms["task"] / norm for name, norm in norms.items() if norm}
            self.balance(ratios, first=progress == 0)
        return figures

    def gradient(self, term: Tensor) -> Gradient:
        """Of a weighted term, parameter after parameter of the layer."""
        found = torch.autograd.grad(
            term,
            self.layer,
            retain_graph=True,  # the training's own pass backward is still to come
            allow_unused=True,
        )
        gradients = []
        for gradient, parameter in zip(found, self.layer, strict=True):
            # A term need not reach every matrix of the layer.
            gradients.append(torch.zeros_like(parameter) if gradient is None else gradient)
        # Of the whole batch, whichever process read which of its rows.
        return mean_over_processes(gradients)

    def warn_of_drowning(
        self,
        pulls: dict[str, float],
        weights: dict[str, float],
    ) -> None:
        """Tell, once, of a term that leaves the others nothing."""
        for name, share in pulls.items():
            in_a_row = self.drowning.get(name, 0) + 1
            self.drowning[name] = in_a_row if share > DROWNS else 0
            if self.drowning[name] == IN_A_ROW:
                # The weight at which it pulls as all others together.
                fair = weights[name] * (1 - share) / share
                key = self.keys.get(name)
                cure = f"Lower {key}, its weight, to about {fair:.2g}"
                if key is None:
                    cure = f"Multiply the weights of the others by about {share / (1 - share):.2g}"
                text = (
                    f"warning: the term `{name}` drowns the others: {share:.1%} of the gradient "
                    f"comes from it, and the student hardly learns from the rest. {cure}"
                )
                self.tell(Note(text))

    def balance(self, ratios: dict[str, float], *, first: bool) -> None:
        """Bring each soft term's factor towards the one that makes its gradient as long as the
        task's. `ratios`: by term, the norm of the task's gradient over its own, as weighted now.
        `first`: of the training's probes, which has no former factor to average with."""
        factors = self.objective.factors
        for index, term in enumerate(self.objective.terms):
            if term.name == "task" or term.name not in ratios:
                continue
            factor = factors[index]
            fitting = ratios[term.name] * factor
            averaged = KEPT * factor + (1 - KEPT) * fitting
            factors[index] = fitting if first else averaged


def first_layer(model: nn.Module) -> list[nn.Parameter]:
    """The trained matrices of the first of the model's layers; of the whole model where it has no
    list of layers."""
    # Biases and norms are left out: their gradients are of another size.
    names = layer_names(model)
    module = model.get_submodule(names[0]) if names else model
    return [
        parameter
        for parameter in module.parameters()
        if parameter.requires_grad and parameter.ndim > 1
    ]


@torch.no_grad()
def disagreement(
    student: Outputs,
    teacher: Outputs,
    likelihood: str,
) -> dict[str, Tensor]:
    """Agreement and both entropies as scalars on the device, over the `num_units` units that count
    on both sides; nothing of a gaussian, whose answers are numbers."""
    kind = LIKELIHOODS[likelihood]
    # Nor of the tokens of two vocabularies, none of which is another's.
    if kind.labels_are_numbers or student.num_labels != teacher.num_labels:
        return {}
    teacher = by_order(teacher, student.mask.shape[1])
    mask = student.mask & teacher.mask
    units = torch.arange(mask.numel(), device=mask.device)
    num_labels = student.num_labels
    found = []
    # Of a vocabulary not all at once.
    for some in in_chunks(units, num_labels):
        student_logits = some_units(student, some).logits.float()
        teacher_logits = some_units(teacher, some).logits.float()
        agreement = kind.agreement(student_logits, teacher_logits)
        student_entropy = kind.entropy(student_logits)
        teacher_entropy = kind.entropy(teacher_logits)
        found.append(torch.cat([agreement, student_entropy, teacher_entropy]))
    columns = torch.cat(found, 1) if found else mask.new_zeros((3, 0), dtype=torch.float32)
    agreement, student_entropy, teacher_entropy = columns
    is_counted = mask.flatten()
    return {
        "num_units": mask.sum(),
        "agreement": masked_mean(agreement, is_counted),
        "student_entropy": masked_mean(student_entropy, is_counted),
        "teacher_entropy": masked_mean(teacher_entropy, is_counted),
    }


def products_of(gradients: dict[str, Gradient]) -> dict[tuple[str, str], Tensor]:
    """The inner product of every two gradients, and of each with itself, as scalars on the
    device."""
    products = {}
    for name, gradient in gradients.items():
        products[name, name] = dot(gradient, gradient)
    for one, other in combinations(gradients, 2):
        products[one, other] = dot(gradients[one], gradients[other])
    return products


def dot(one: Gradient, other: Gradient) -> Tensor:
    """The inner product of two gradients, a scalar."""
    # Squares of small gradients leave float32's range.
    dtype = widest_dtype(one[0].device)
    total = one[0].new_zeros((), dtype=dtype)
    for first, second in zip(one, other, strict=True):
        products = first.to(dtype) * second.to(dtype)
        total = total + products.sum()
    return total


def on_host(scalars: list[Tensor]) -> list[float]:
    """The scalars' values, in one wait for the device."""
    if not scalars:
        return []
    dtype = widest_dtype(scalars[0].device)
    together = torch.stack([scalar.to(dtype) for scalar in scalars])
    return together.cpu().tolist()
