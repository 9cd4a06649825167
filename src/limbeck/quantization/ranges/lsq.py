"""Learned step size (LSQ, Esser et al., 2020, arXiv 1902.08153, equations 2-3): the scale is a parameter, trained with the gradient of `quant.fake`.

Deviations: it starts from the least squared error instead of 2 <|v|> / sqrt(Q_P) (as LSQ+, arXiv 2004.09576, section 3.3, which found the start
to decide the run-to-run variance); LSQ has no offset, so activations keep the integer zero point of that start; the parameter is log(scale),
which keeps the scale positive and lets Adam, blind to the size of a gradient, change it by the same share whatever its unit.
"""

from typing import ClassVar

from limbeck.quantization.ranges.mse import Mse


class Lsq(Mse):
    """Starts as `mse`, then learns."""

    learned: ClassVar[bool] = True
