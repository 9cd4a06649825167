"""Names for the types that the signatures of this room repeat."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from limbeck.sources import Row

Array = np.ndarray

Rows = Sequence[Row]

Names = tuple[str, ...]

# An answer to a user, or a part of the report: ready for JSON.
Answer = dict[str, Any]

# Metrics by name, each of as many values as there are resamples.
Figures = dict[str, Array]

# What a model reads, by the name of its input.
Inputs = dict[str, Array]
