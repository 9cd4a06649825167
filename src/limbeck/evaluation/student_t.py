"""Student's t distribution, which the base install has no library for (Student, 1908).

With x = sqrt(df) tan(a) its density becomes cos(a)^(df - 1), which is smooth and lies on a finite
range: the rule of Gauss and Legendre has it to about ten digits, from one degree of freedom on.
"""

import math
from functools import cache

import numpy as np

# Points of the quadrature: the narrowest peak, of 1,000 degrees of freedom, is .03 wide.
POINTS = 200
# More degrees than these differ from infinitely many by less than a thousandth.
MOST_DEGREES = 1000
HALVINGS = 60


def probability_above(x: float, degrees: int) -> float:
    """Of a value above x >= 0, in [0, 1/2]; `degrees`: of freedom, at least 1."""
    degrees = min(degrees, MOST_DEGREES)
    nodes, node_weights = _quadrature()
    # The upper tail is integrated itself: 1 less the rest would lose small probabilities.
    start = math.atan(x / math.sqrt(degrees))
    half_width = (math.pi / 2 - start) / 2
    angles = start + half_width * (nodes + 1)
    area = half_width * float(node_weights @ np.cos(angles) ** (degrees - 1))
    log_constant = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)
    return area * math.exp(log_constant) / math.sqrt(math.pi)


@cache
def quantile(above: float, degrees: int) -> float:
    """The value that is exceeded with the probability `above`, in (0, 1/2].

    >>> round(quantile(0.025, 2), 3)
    4.303
    """
    # As an angle, because one degree of freedom has quantiles of any size.
    low, high = 0.0, math.pi / 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if probability_above(math.tan(middle), degrees) > above:
            low = middle
        else:
            high = middle
    return math.tan(low)


@cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Nodes in [-1, 1] and their weights."""
    return np.polynomial.legendre.leggauss(POINTS)
