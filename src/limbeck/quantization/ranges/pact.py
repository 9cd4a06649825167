"""Learned clipping bound of activations (PACT, Choi et al., 2018, arXiv 1805.06085, equations 1-3):

    y = clip(x, 0, alpha),    s = alpha / (2^b - 1)

dy/d alpha is 1 where x > alpha and 0 elsewhere: unlike in `lsq`, rounding inside tells the bound
nothing (`quantization.modules.fake.Clip`). What keeps it from growing is its regularizer lambda
alpha^2, summed over the tensors, a loss term of its own (`clipping`); lambda is
`quantize.clip_weight`.

The paper's tensors come out of a ReLU: there z = 0 and these are its equations. Of a tensor that
is negative too, both ends clip: [-z s, (255 - z) s] with the integer zero point z of the start, so
that one learned scale moves both, and the regularizer adds the squares of both ends.

Deviations:

- alpha starts where the squared error is least, as `mse`, not at one number for all tensors.
- The parameter is log(s), for the reasons in `lsq`.
- Weights have the learned step of `lsq`. The paper's (DoReFa, Zhou et al., 2016, arXiv 1606.06160,
  equation 9: tanh) would be other weights than those of the float layer.
"""

from typing import ClassVar

from limbeck.quantization.ranges.mse import Mse


class Pact(Mse):
    """Starts as `mse`, then learns from what is clipped."""

    learned: ClassVar[bool] = True
    clipped_only: ClassVar[bool] = True
    # lambda where the recipe leaves it open.
    clip_weight: ClassVar[float] = 2e-4
