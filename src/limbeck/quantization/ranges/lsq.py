"""Learned step size: the scale is a parameter, trained with the gradient of
`quantization.modules.fake` (LSQ, Esser et al., 2020, arXiv 1902.08153, equations 1 to 3).

Deviations:

- It starts from the least squared error, as `mse`, instead of 2 <|v|> / sqrt(Q_P). So does LSQ+
  (Bhalgat et al., 2020, arXiv 2004.09576, section 3), which finds that the start decides how much
  runs differ.
- LSQ has no offset: activations keep the integer zero point of that start.
- The parameter is log(scale). That keeps the scale positive, and lets Adam, which does not see how
  large a gradient is, change it by the same share whatever its unit.
"""

from typing import ClassVar

from limbeck.quantization.ranges.mse import Mse


class Lsq(Mse):
    """Starts as `mse`, then learns."""

    learned: ClassVar[bool] = True
