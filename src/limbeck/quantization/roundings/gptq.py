"""Column after column to the nearest level, each error made up for by the columns still to come
(GPTQ, Frantar et al., 2022, arXiv 2210.17323, algorithm 1):

    H = 2 X^T X + damping mean(diag 2 X^T X) I,    H^-1 = U^T U, U upper triangular
    e_j = (w_j - Q(w_j)) / U_jj,    w_k <- w_k - e_j U_jk for k > j

within a block at once, and for the columns after it when the block is done (equation 4). The
scales stay: with groups every column keeps that of its own, in whatever order columns are taken.
The factor 2 of H cancels in e_j U_jk and is left out.

Deviations:

- `act_order` takes columns by falling H_jj, what is read most first, as the authors' code can do;
  the paper keeps their order.
- A column that reads nothing (H_jj = 0) takes its nearest level; the authors' code sets it to 0,
  which would lose weights that the calibration rows happened not to reach.
- A row whose outputs err no less than with the nearest levels keeps those: greed can lose.
- It computes in float64, where the paper's models take float32: of few inputs H is near singular.
"""

import torch
from torch import Tensor

from limbeck.core.grids import Grid
from limbeck.models.precision import back_like, in_float64
from limbeck.quantization.affine import quantize
from limbeck.quantization.roundings._output import better_rows, column_scales, second_moment


class Gptq:
    """Error compensation, column after column.

    act_order: whether columns are taken by how much is read of them, or as they stand.
    damping: the share of H's mean diagonal that is added to its diagonal, above 0 and below 1. More
        makes the inverse safer and compensates less; 0.01 is the paper's.
    block: columns whose errors are spread together; a matter of speed alone.
    """

    def __init__(
        self,
        act_order: bool = True,
        damping: float = 0.01,
        block: int = 128,
    ) -> None:
        if not 0 < damping < 1:
            raise ValueError(
                f"`damping` is {damping}: it should be above 0 and below 1; 0.01 is usual"
            )
        if block < 1:
            raise ValueError(f"`block` is {block}: it should be 1 or more")
        self.act_order = act_order
        self.damping = damping
        self.block = block

    def solve(
        self,
        weight: Tensor,
        scale: Tensor,
        grid: Grid,
        inputs: Tensor,
    ) -> Tensor:
        """Weights on the grid, (..., O, D). Raises ValueError for inputs that are not finite."""
        scales = column_scales(scale, weight.shape[-1])
        moment = second_moment(inputs)
        order = self.order_of(moment)
        # `order` as an index of columns, and of rows: G is ordered by both.
        columns = order.unsqueeze(-2)
        rows = order.unsqueeze(-1)
        ordered_moment = moment.take_along_dim(rows, -2).take_along_dim(columns, -1)
        codes = self.codes(
            in_float64(weight).take_along_dim(columns, -1),
            in_float64(scales).take_along_dim(columns, -1),
            grid,
            self.factor(ordered_moment),
        )
        back = order.argsort(-1).unsqueeze(-2)
        solved = back_like(codes.take_along_dim(back, -1), scales) * scales
        return better_rows(solved, weight, scales, grid, moment)

    def order_of(self, moment: Tensor) -> Tensor:
        """(..., D) the numbers of the columns in the order in which they are taken."""
        diagonal = moment.diagonal(dim1=-2, dim2=-1)
        if self.act_order:
            return diagonal.argsort(dim=-1, descending=True, stable=True)
        width = moment.shape[-1]
        return torch.arange(width, device=moment.device).expand_as(diagonal)

    def factor(self, moment: Tensor) -> Tensor:
        """U, (..., D, D), of the damped G (..., D, D).

        Raises ValueError where G is not finite, or needs more damping.
        """
        diagonal = moment.diagonal(dim1=-2, dim2=-1)
        damping = self.damping * diagonal.mean(-1, keepdim=True)
        # Any number above 0, where a column is not read, lets H be inverted.
        added = damping + (diagonal == 0)
        lower, info = torch.linalg.cholesky_ex(moment + added.diag_embed())
        if info.any():
            raise ValueError(
                f"gptq: what a layer reads is not finite, or `damping`, {self.damping}, "
                "is too little for it"
            )
        return torch.linalg.cholesky(torch.cholesky_inverse(lower), upper=True)

    def codes(
        self,
        weight: Tensor,
        scales: Tensor,
        grid: Grid,
        factor: Tensor,
    ) -> Tensor:
        """(..., O, D) the codes of weights (..., O, D), column by column.

        `weight` is used up: what is left of it in the end are the errors that nothing made up for.
        """
        width = weight.shape[-1]
        zero_point = scales.new_zeros(())
        codes = torch.empty_like(weight)
        for start in range(0, width, self.block):
            stop = min(start + self.block, width)
            errors = torch.empty_like(weight[..., start:stop])
            for j in range(start, stop):
                # 1. The column's nearest level, after what the columns before it have added.
                column = weight[..., j]
                code = quantize(column, scales[..., j], zero_point, grid)
                codes[..., j] = code
                error = (column - code * scales[..., j]) / factor[..., j, j, None]
                errors[..., j - start] = error
                # 2. Its error, made up for by the rest of the block.
                share = factor[..., j, None, j + 1 : stop]
                weight[..., j + 1 : stop] -= error.unsqueeze(-1) * share
            # 3. The block's errors, made up for by the columns after it.
            weight[..., stop:] -= errors @ factor[..., start:stop, stop:]
        return codes
