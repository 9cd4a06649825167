"""The grid covers every weight, before every training step anew:

    scale = max |w| / (the level at its end)

as an observer of weights that trains along (Jacob et al., 2018, arXiv 1712.05877, section 3.1, who
take the extremes of the weights at every step).

A learned step (`lsq`) moves by the learning rate a step, whatever its gradient. Where a scale is
that of 32 weights, these leave its grid sooner than it follows: outside they have no gradient, and
stay. Language models lost .8 % of perplexity so in int8, whose rounding alone costs nothing
(docs/log.md).

Deviation: the extremes are those of each group. Activations keep what was fitted to them at first:
no batch stands for all.
"""

from typing import ClassVar

from limbeck.quantization.ranges.minmax import Minmax


class EveryStep(Minmax):
    """As `minmax`, and again before every step."""

    each_step: ClassVar[bool] = True
