"""Up or down for every weight, so that the layer's outputs err least
(AdaRound, Nagel et al., 2020, arXiv 2004.10568, equations 21 to 24):

    min over V of || X (W~ - W)^T ||^2 + weight sum (1 - |2 h(V) - 1|^beta)
    W~ = s clip(floor(W / s) + h(V), low, high)
    h(V) = clip(sigmoid(V) (zeta - gamma) + gamma, 0, 1),    zeta = 1.1, gamma = -0.1

by Adam from h = W / s - floor(W / s). The second term pushes every h to 0 or 1. At a high beta it
is flat but near 0 and 1, at 2 it pushes everywhere: beta falls from 20 to 2, and the first fifth of
the steps goes without the term. In the end, h above 1/2 is up.

Deviations:

- The first term is a quadratic form of W~ - W, whose gradient over all inputs at once
  costs less than the paper's over a batch of them. Nothing is drawn, and as every step sees all
  inputs there are some hundred steps, where the paper takes thousands.
- The gradient is written out instead of taken by autograd, which would keep every step's tensors.
- For a row, the first term is a share of what the nearest levels' outputs err, and the second its
  mean over the row's weights, so that `weight` means the same in every layer.
- The paper compares with the outputs of the float model and takes the activation function after the
  layer in (equation 25). Here both sides read the inputs of the quantized layers before this one.
- A row whose outputs err no less than with the nearest levels keeps those.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from limbeck.core.grids import Grid
from limbeck.models.precision import back_like
from limbeck.quantization.roundings import INTEGERS
from limbeck.quantization.roundings._output import (
    at_nearest,
    better_rows,
    column_scales,
    output_error,
    second_moment,
)

# The paper's stretch of the sigmoid, so that h reaches 0 and 1 at finite V.
ZETA = 1.1
GAMMA = -0.1

# The share of the steps before every h is pushed to 0 or 1, and beta then and at the end: those of
# the authors.
WARM_UP = 0.2
FIRST_BETA = 20.0
LAST_BETA = 2.0

# Divides the error of a row that does not err at its nearest levels.
TINY = 1e-30


@dataclass(frozen=True)
class _RowProblem:
    """What the rows of a layer choose between, (..., O, D) where nothing else is said.

    start: h at the start, where the float weights lie between their two levels.
    error: what a weight errs when it goes down.
    step: how much more it is when it goes up; 0 at an end of the grid.
    moment: (..., D, D) G of the inputs.
    nearest_error: (..., O) what a row's outputs err at the nearest levels.
    """

    start: Tensor
    error: Tensor
    step: Tensor
    moment: Tensor
    nearest_error: Tensor


class Adaround:
    """A continuous choice between the two levels of every weight, by gradient.

    steps: of Adam, for each layer.
    learning_rate: of Adam.
    weight: of the term that pushes every weight to one of its two levels.
    """

    formats: ClassVar[tuple[str, ...]] = INTEGERS

    def __init__(
        self,
        steps: int = 300,
        learning_rate: float = 0.05,
        weight: float = 20.0,
    ) -> None:
        keys = {"steps": steps, "learning_rate": learning_rate, "weight": weight}
        for key, value in keys.items():
            if value <= 0:
                raise ValueError(f"`{key}` is {value}: it should be above 0")
        self.steps = steps
        self.learning_rate = learning_rate
        self.weight = weight

    @torch.no_grad()
    def solve(
        self,
        weight: Tensor,
        scale: Tensor,
        grid: Grid,
        inputs: Tensor,
    ) -> Tensor:
        """Weights on the grid, (..., O, D)."""
        scales = column_scales(scale, weight.shape[-1])
        moment = second_moment(inputs)
        steps = weight / scales
        low = steps.floor().clamp(grid.low, grid.high)
        high = (steps.floor() + 1).clamp(grid.low, grid.high)
        # At an end of the grid both are one level, and the choice changes nothing.
        nearest_error = output_error(at_nearest(weight, scales, grid) - weight, moment)
        problem = _RowProblem(
            start=(steps - low).clamp(0, 1),
            error=low * scales - weight,
            step=(high - low) * scales,
            moment=back_like(moment, weight),
            nearest_error=back_like(nearest_error.clamp_min(TINY), weight),
        )
        chosen = torch.where(self.choose(problem), high, low)
        return better_rows(chosen * scales, weight, scales, grid, moment)

    def choose(self, problem: _RowProblem) -> Tensor:
        """(..., O, D) bool, whether each weight goes up."""
        error = problem.error
        step = problem.step
        width = error.shape[-1]
        to_share = step / problem.nearest_error.unsqueeze(-1)
        v = torch.logit((problem.start - GAMMA) / (ZETA - GAMMA))
        optimizer = torch.optim.Adam([v], self.learning_rate)
        for index in range(self.steps):
            sigmoid = v.sigmoid()
            h = (sigmoid * (ZETA - GAMMA) + GAMMA).clamp(0, 1)
            # 1. The slope in h of the outputs' error.
            slope = 2 * ((error + step * h) @ problem.moment) * to_share
            # 2. That of the push to 0 or 1.
            if index >= WARM_UP * self.steps:
                beta = beta_at(index / self.steps)
                away = 2 * h - 1
                push = away.sign() * away.abs().pow(beta - 1)
                slope -= self.weight / width * 2 * beta * push
            # 3. Through the clip and the sigmoid to V. Their constant, zeta - gamma, is left out:
            # Adam does not see how large a gradient is.
            is_free = (h > 0) & (h < 1)
            v.grad = slope * sigmoid * (1 - sigmoid) * is_free
            optimizer.step()
        return v > 0


def beta_at(progress: float) -> float:
    """Beta at a share of the steps: half a cosine from the first value to the last."""
    angle = math.pi * (progress - WARM_UP) / (1 - WARM_UP)
    falling = 0.5 * (1 + math.cos(angle))
    return LAST_BETA + (FIRST_BETA - LAST_BETA) * falling
