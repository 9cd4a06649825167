"""Average curvature times squared rounding error: 1/2 tr(H) / n ||Q(w) - w||^2 with the Hessian H of a module's n weights (HAWQ-V2, Dong et al.,
2019, arXiv 1911.03852, equation 11). The trace is Hutchinson's: E[v^T H v] over random signs v, each a backward pass through the gradient.

Deviations: H is that of KL(float || model) where both are equal, which needs no labels, is in nats as the other ways are, and has no negative
eigenvalue; and one v covers all modules at once (HAWQ-V2 takes one after the other), so that what the modules have in common stays in the estimate as
noise of mean 0. A trace that this noise has made negative is taken as 0.
"""

from itertools import product

import torch

from limbeck.analysis.sensitivities import Probe, Scores, differentiable
from limbeck.analysis.sensitivities.gradient import cost
from limbeck.core.events import track
from limbeck.models.likelihood import nats_between
from limbeck.models.taps import run_model
from limbeck.tasks import Batch

DRAWS = 8  # of v


class Hessian:
    """No keys."""

    def __call__(self, probe: Probe) -> Scores:
        """Nats a unit."""
        traces = dict.fromkeys(probe.layers, 0.0)
        with differentiable(probe.model, probe.layers) as weights:
            for draw, batch in track(
                list(product(range(DRAWS), probe.batches)), lambda step: cost(step[1]), probe.tell
            ):
                for name, value in zip(
                    traces, quadratic_forms(probe, batch, weights, draw), strict=True
                ):
                    traces[name] += value
        count = DRAWS * probe.units
        means = {
            name: max(0.0, trace / count / probe.layers[name].weight.numel())
            for name, trace in traces.items()
        }
        return probe.second_order({name: torch.tensor(mean) for name, mean in means.items()})


def quadratic_forms(
    probe: Probe, batch: Batch, weights: list[torch.Tensor], draw: int
) -> list[float]:
    """v^T H v of each weight, summed over the batch's units; v is the same for every batch."""
    generator = torch.Generator().manual_seed(draw)
    signs = [2.0 * torch.randint(0, 2, weight.shape, generator=generator) - 1 for weight in weights]
    logits = run_model(probe.model, batch).logits
    nats = (nats_between(probe.likelihood, logits.detach(), logits) * batch.mask).sum()
    gradients = torch.autograd.grad(nats, weights, create_graph=True, materialize_grads=True)
    along = torch.stack(
        [(sign * gradient).sum() for sign, gradient in zip(signs, gradients, strict=True)]
    ).sum()
    products = torch.autograd.grad(along, weights, materialize_grads=True)
    return [float((sign * product).sum()) for sign, product in zip(signs, products, strict=True)]
