"""Where a speed-up comes from: runtime x architecture x integers = total.

Each factor says how many times as fast one thing is as another that differs from it in one respect:

| factor | from | to |
|---|---|---|
| `runtime` | the teacher in PyTorch | the teacher's float graph in the artifact's runtime |
| `architecture` | that graph | the float graph of the student, in the same runtime |
| `integers` | that graph | the artifact |

Each is a ratio of two of the same four figures, so that they multiply.
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
    factors: dict[str, Ratio] = {}
    pairs = zip(FACTORS, steps.names, steps.names[1:], strict=False)
    for factor, slower, faster in pairs:
        if slower is not None and faster is not None and factor not in steps.reasons:
            factors[factor] = ratio(measured[slower], measured[faster])
    first, last = steps.names[0], steps.names[-1]
    if first is not None and last is not None:
        factors[TOTAL] = ratio(measured[first], measured[last])
    told: dict[str, Any] = {}
    for name in (*FACTORS, TOTAL):
        if name in factors:
            told[name] = factors[name].told()
        else:
            reason = steps.reasons.get(name, "no teacher to compare with")
            told[name] = {"ratio": None, "ratio_ci95": None, "reason": reason}
    return told
