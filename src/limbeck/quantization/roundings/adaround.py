"""Up or down for every weight, so that the layer's outputs err least (AdaRound, Nagel et al., 2020, arXiv 2004.10568, equations 21-24):

    W~ = s clip(floor(W / s) + h(V), low, high),    h(V) = clip(sigmoid(V) (zeta - gamma) + gamma, 0, 1),    zeta = 1.1, gamma = -0.1
    min over V of || X (W~ - W)^T ||^2 + weight sum (1 - |2 h(V) - 1|^beta)

by Adam from h = W / s - floor(W / s). The second term, whose beta falls from 20 to 2, pushes every h to 0 or 1; the first fifth of the steps goes
without it. In the end h above 1/2 is up.

Deviations: the first term is a quadratic form of W~ - W (`_output`), so that its value and its gradient over all inputs at once cost less than
those of a batch of them, and nothing is drawn; for a row it is a share of what the nearest levels' outputs err, and the second its mean over the
row's weights, so that `weight` means the same in every layer; the inputs are those of the quantized layers before this one on both sides (equation
25 takes the float model's for W, and the activation function after the layer); a row whose outputs err no less than with the nearest levels keeps
those.
"""

import math
from typing import ClassVar

import torch

from limbeck.core.grids import Grid
from limbeck.quantization.roundings import INTEGERS
from limbeck.quantization.roundings._output import gram, nearest, or_nearest, output_error, spread

ZETA, GAMMA = 1.1, -0.1
WARM_UP = 0.2  # of the steps
BETA = (20.0, 2.0)
TINY = 1e-30  # where nothing errs


class Adaround:
    """`steps` and `learning_rate` of Adam; `weight` of the term that pushes every weight to one of its two levels."""

    formats: ClassVar[tuple[str, ...]] = INTEGERS

    def __init__(self, steps: int = 300, learning_rate: float = 0.05, weight: float = 20.0) -> None:
        for key, value in (("steps", steps), ("learning_rate", learning_rate), ("weight", weight)):
            if value <= 0:
                raise ValueError(f"`{key}` is {value}: it should be above 0")
        self.steps, self.learning_rate, self.weight = steps, learning_rate, weight

    @torch.no_grad()
    def solve(
        self, weight: torch.Tensor, scale: torch.Tensor, grid: Grid, inputs: torch.Tensor
    ) -> torch.Tensor:
        """Weights on the grid, (..., O, D)."""
        columns, moment = spread(scale, weight.shape[-1]), gram(inputs)
        steps = weight / columns
        low, high = (
            steps.floor().clamp(grid.low, grid.high),
            (steps.floor() + 1).clamp(grid.low, grid.high),
        )
        share = output_error(nearest(weight, columns, grid) - weight, moment).clamp_min(TINY)
        is_up = self.choose(
            (steps - low).clamp(0, 1),
            low * columns - weight,
            (high - low) * columns,
            (moment, share),
        )
        return or_nearest(torch.where(is_up, high, low) * columns, weight, columns, grid, moment)

    def choose(
        self,
        start: torch.Tensor,
        error: torch.Tensor,
        step: torch.Tensor,
        criterion: tuple[torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:
        """(..., O, D) bool, whether up: `start` is the first h, `error` what a weight errs at h = 0, `step` how much more at h = 1."""
        moment, share = criterion[0].float(), criterion[1].float().unsqueeze(-1)
        v = torch.logit((start - GAMMA) / (ZETA - GAMMA))
        optimizer = torch.optim.Adam([v], self.learning_rate)
        for index in range(self.steps):
            sigmoid = v.sigmoid()
            h = (sigmoid * (ZETA - GAMMA) + GAMMA).clamp(0, 1)
            slope = 2 * ((error + step * h) @ moment) * (step / share)
            if index >= WARM_UP * self.steps:
                far = 2 * h - 1
                beta = annealed(index / self.steps)
                slope -= self.weight / v.shape[-1] * 2 * beta * far.sign() * far.abs().pow(beta - 1)
            v.grad = slope * sigmoid * (1 - sigmoid) * ((h > 0) & (h < 1))
            optimizer.step()
        return v > 0


def annealed(progress: float) -> float:
    """Beta at a share of the steps, a half cosine from the first to the last after the warm-up."""
    return BETA[1] + (BETA[0] - BETA[1]) * 0.5 * (
        1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP))
    )
