"""Where a speed-up comes from: runtime x architecture x integers = total.

Each factor says how many times as fast one thing is as another that differs from it in one respect:

| factor | from | to |
|---|---|---|
| `runtime` | the teacher in PyTorch | the teacher's float graph in the artifact's runtime |
| `architecture` | that graph | the float graph of the student, in the same runtime |
| `integers` | that graph | the artifact |

Medians of ratios do not multiply exactly. What is left over, a few thousandths, is spread evenly in
logarithms over the three factors and the total: least squares under the one condition that they
multiply (the adjustment of a closed loop, as in surveying), so that all four figures agree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.artifact.speed.ratios import Ratio, ratio
from limbeck.artifact.speed.rounds import Timed

FACTORS = ("runtime", "architecture", "integers")
TOTAL = "total"


@dataclass(frozen=True)
class Steps:
    """What each factor compares.

    names: the subjects from the teacher to what is shipped, one more than FACTORS; None for one
        that is not there.
    reasons: by factor, why it is not known.
    """

    names: Sequence[str | None]
    reasons: Mapping[str, str]


def product(measured: Mapping[str, Timed], steps: Steps) -> dict[str, Any]:
    """report.json's `product`: each factor and the total, with intervals; where one is not known,
    `ratio` is null and `reason` says why.

    measured: by the name of each subject, of the same rounds.
    """
    # 1. Each by itself, of the same rounds.
    factors: dict[str, Ratio] = {}
    pairs = zip(FACTORS, steps.names, steps.names[1:], strict=False)
    for factor, slower, faster in pairs:
        if slower is not None and faster is not None and factor not in steps.reasons:
            factors[factor] = ratio(measured[slower], measured[faster])
    first, last = steps.names[0], steps.names[-1]
    if first is not None and last is not None:
        factors[TOTAL] = ratio(measured[first], measured[last])
    # 2. So that they multiply.
    factors = adjusted(factors)
    told: dict[str, Any] = {}
    for name in (*FACTORS, TOTAL):
        if name in factors:
            told[name] = factors[name].told()
        else:
            reason = steps.reasons.get(name, "no teacher to compare with")
            told[name] = {"ratio": None, "ratio_ci95": None, "reason": reason}
    return told


def adjusted(factors: Mapping[str, Ratio]) -> dict[str, Ratio]:
    """The same, so that the factors multiply to the total; unchanged where one is missing."""
    if len(factors) <= len(FACTORS):
        return dict(factors)
    # Of two factors and a total nothing says which of them is off.
    multiplied = 1.0
    for name in FACTORS:
        multiplied *= factors[name].ratio
    # A quarter of what is left over to each of the four.
    share = (factors[TOTAL].ratio / multiplied) ** (1 / len(factors))
    changed = {name: factors[name].scaled(share) for name in FACTORS}
    return {**changed, TOTAL: factors[TOTAL].scaled(1 / share)}
