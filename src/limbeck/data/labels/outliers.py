"""Labels that are numbers and lie far from all the others.

One slip of a decimal point stretches the range of labels, in which every answer is learned and
every error counted, until nothing else is seen of it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from limbeck.core import wording
from limbeck.sources import Row
from limbeck.tasks.heads.number import Number

# Of the labels, those between these quantiles are the bulk.
BULK = (0.02, 0.98)
# How many times as wide as the bulk the whole range may be: that of a normal distribution is 2 of a
# million rows, and a lognormal one's of spread 1 is 8 of a thousand.
MOST_TIMES = 20
MOST_SHOWN = 3


def far_numbers(rows: Sequence[Row], task: Any) -> list[str]:
    """A warning where some labels stretch the range of all; `rows`: of train."""
    # Of somebody else's task it is not known whether a label is a number.
    has_numbers = issubclass(getattr(task, "head_type", object), Number)
    if not has_numbers or not rows or "label" not in rows[0]:
        return []
    known = [(number, row["label"]) for number, row in enumerate(rows, 1)]
    values = np.array([np.nan if label is None else float(label) for _, label in known])
    if np.isnan(values).all():
        return []
    low, high = np.nanquantile(values, BULK)
    width = float(high - low)
    whole = float(np.nanmax(values) - np.nanmin(values))
    # Where nearly all labels are one number, any other one is far.
    if width == 0 or whole <= MOST_TIMES * width:
        return []
    far = np.flatnonzero((values < low - MOST_TIMES * width) | (values > high + MOST_TIMES * width))
    if not len(far):
        return []
    first = [f"row {place + 1}: {values[place]:g}" for place in far[:MOST_SHOWN]]
    return [
        f"warning: {len(far)} of {len(rows)} train labels lie far from the others "
        f"({wording.some(first)}), nearly all of which are between {low:g} and {high:g}. Answers "
        "are learned, and errors counted, in shares of the whole range, in which the others all "
        "look alike: mend these labels, or take the rows out"
    ]
