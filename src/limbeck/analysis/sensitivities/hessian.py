"""Average curvature of a module times its squared rounding error:

    1/2 tr(H) / n ||Q(w) - w||^2

with the Hessian H of the loss in the module's n weights (HAWQ-V2, Dong et al., 2019, arXiv
1911.03852, equation 11). The trace is Hutchinson's: E[v^T H v] over vectors v of random signs, each
taken by a backward pass through the gradient.

Deviations:

- HAWQ-V2's loss is that of the labels. Here H is that of KL(float || model) where both are equal,
  which needs no label, is in nats as the other sensitivities are, and has no negative eigenvalue.
- HAWQ-V2 draws v for one module after the other. Here one v covers all modules at once: as many
  passes for all as for one. What two modules have in common stays in the estimate as noise of
  mean 0; a trace that this noise has made negative is taken as 0.
"""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from limbeck.analysis.sensitivities import JudgedModel, Scores, differentiable
from limbeck.analysis.sensitivities.gradient import cost
from limbeck.core.events import track
from limbeck.models.likelihood import LIKELIHOODS
from limbeck.models.running import run_model
from limbeck.tasks import Batch

# Vectors v. Each takes two backward passes over the rows; the error falls with the square root of
# their number.
DRAWS = 8

Step = tuple[int, Batch]


class Hessian:
    """Estimates one average curvature a module."""

    def __call__(self, judged: JudgedModel) -> Scores:
        """Nats a unit, 0 or more."""
        layers = judged.layers
        traces = dict.fromkeys(layers, 0.0)
        steps: list[Step] = list(product(range(DRAWS), judged.batches))
        with differentiable(judged.model, layers) as weights:
            for draw, batch in track(steps, _cost_of_step, judged.tell):
                forms = quadratic_forms(judged, batch, weights, draw)
                for name, value in zip(traces, forms, strict=True):
                    traces[name] += value
        # The mean over draws, for one unit and one weight.
        count = DRAWS * judged.units
        curvature = {}
        for name, trace in traces.items():
            weight = layers[name].weight
            mean = trace / count / weight.numel()
            curvature[name] = weight.new_full((), max(0.0, mean))
        return judged.second_order(curvature)


def _cost_of_step(step: Step) -> float:
    return cost(step[1])


def quadratic_forms(
    judged: JudgedModel,
    batch: Batch,
    weights: list[Tensor],
    draw: int,
) -> list[float]:
    """v^T H v of each weight, summed over the batch's units.

    `draw` seeds v, which is the same for every batch.
    """
    signs = random_signs(weights, draw)
    logits = run_model(judged.model, batch).logits
    # Of answers with themselves: 0 and flat here, so that its curvature says how it grows.
    likelihood = LIKELIHOODS[judged.likelihood]
    nats = likelihood.divergence(logits.detach(), logits)
    total = (nats * batch.mask).sum()
    # A module that no output depends on has a gradient of zeros.
    gradients = torch.autograd.grad(
        total,
        weights,
        create_graph=True,
        materialize_grads=True,
    )
    # The gradient of v^T g is H v.
    along = torch.stack(inner_products(signs, gradients)).sum()
    products = torch.autograd.grad(along, weights, materialize_grads=True)
    return [float(form) for form in inner_products(signs, products)]


def inner_products(first: Sequence[Tensor], second: Sequence[Tensor]) -> list[Tensor]:
    """The sum of each pair's products."""
    pairs = zip(first, second, strict=True)
    return [(one * other).sum() for one, other in pairs]


def random_signs(weights: list[Tensor], seed: int) -> list[Tensor]:
    """-1 and 1 in the shape of each weight: drawn on the CPU, so that every device has the same."""
    generator = torch.Generator().manual_seed(seed)
    signs = []
    for weight in weights:
        drawn = 2.0 * torch.randint(0, 2, weight.shape, generator=generator) - 1
        signs.append(drawn.to(weight.device))
    return signs
