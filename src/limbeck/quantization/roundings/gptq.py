"""Column after column to the nearest level, each error made up for by the columns still to come (GPTQ, Frantar et al., 2022, arXiv 2210.17323,
algorithm 1):

    H = 2 X^T X + damping mean(diag 2 X^T X) I,    H^-1 = U^T U, U upper triangular
    e_j = (w_j - Q(w_j)) / U_jj,    w_k <- w_k - e_j U_jk for k > j

within a block at once, and for the columns after it when the block is done (equation 4). The scales stay: with groups every column keeps that of
its own, in whatever order columns are taken. `act_order` takes them by falling H_jj, what is read most first: as the authors' code does; the paper
keeps their order. The factor 2 of H changes nothing and is left out.

Deviations: a column that reads nothing (H_jj = 0) takes its nearest level, where the authors' code sets it to 0; a row whose outputs err no less
than with the nearest levels keeps those, since a greedy choice can lose; float64, where the paper's models take float32.
"""

import torch

from limbeck.core.grids import Grid
from limbeck.quantization.affine import quantize
from limbeck.quantization.roundings._output import ZERO, gram, or_nearest, spread


class Gptq:
    """`damping`: the share of H's mean diagonal that is added to it; `block`: columns whose errors are spread together; a matter of speed alone."""

    def __init__(self, act_order: bool = True, damping: float = 0.01, block: int = 128) -> None:
        if not 0 < damping < 1:
            raise ValueError(
                f"`damping` is {damping}: it should be above 0 and below 1; 0.01 is usual"
            )
        if block < 1:
            raise ValueError(f"`block` is {block}: it should be 1 or more")
        self.act_order, self.damping, self.block = act_order, damping, block

    def solve(
        self, weight: torch.Tensor, scale: torch.Tensor, grid: Grid, inputs: torch.Tensor
    ) -> torch.Tensor:
        """Weights on the grid, (..., O, D). Raises ValueError for inputs that are not finite."""
        columns, moment = spread(scale, weight.shape[-1]), gram(inputs)
        diagonal = moment.diagonal(dim1=-2, dim2=-1)
        order = (
            diagonal.argsort(dim=-1, descending=True, stable=True)
            if self.act_order
            else torch.arange(weight.shape[-1]).expand_as(diagonal)
        )
        across, down = order.unsqueeze(-2), order.unsqueeze(-1)
        factor = self.factor(moment.take_along_dim(down, -2).take_along_dim(across, -1))
        codes = self.codes(
            weight.double().take_along_dim(across, -1),
            columns.double().take_along_dim(across, -1),
            grid,
            factor,
        )
        found = codes.take_along_dim(order.argsort(-1).unsqueeze(-2), -1).float() * columns
        return or_nearest(found, weight, columns, grid, moment)

    def factor(self, moment: torch.Tensor) -> torch.Tensor:
        """(..., D, D) U of the damped G (..., D, D)."""
        diagonal = moment.diagonal(dim1=-2, dim2=-1)
        added = self.damping * diagonal.mean(-1, keepdim=True) + (
            diagonal == 0
        )  # any number above 0, where a column is not read
        lower, failed = torch.linalg.cholesky_ex(moment + added.diag_embed())
        if failed.any():
            raise ValueError(
                f"gptq: what a layer reads is not finite, or `damping`, {self.damping}, is too little for it"
            )
        return torch.linalg.cholesky(torch.cholesky_inverse(lower), upper=True)

    def codes(
        self, weight: torch.Tensor, columns: torch.Tensor, grid: Grid, factor: torch.Tensor
    ) -> torch.Tensor:
        """(..., O, D) the codes of weights (..., O, D), column by column; `weight` is used up."""
        codes = torch.empty_like(weight)
        for start in range(0, weight.shape[-1], self.block):
            stop = min(start + self.block, weight.shape[-1])
            errors = torch.empty_like(weight[..., start:stop])
            for j in range(start, stop):
                codes[..., j] = quantize(weight[..., j], columns[..., j], ZERO, grid)
                error = (weight[..., j] - codes[..., j] * columns[..., j]) / factor[..., j, j, None]
                weight[..., j + 1 : stop] -= (
                    error.unsqueeze(-1) * factor[..., j, None, j + 1 : stop]
                )
                errors[..., j - start] = error
            weight[..., stop:] -= errors @ factor[..., start:stop, stop:]
        return codes
