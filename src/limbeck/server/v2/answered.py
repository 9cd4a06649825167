"""What a model computed for a request."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from limbeck.server.v2.interface import Interface
from limbeck.sources import Row
from limbeck.tasks import Encoded
from limbeck.tasks.types import Answer, Array


@dataclass(frozen=True)
class Answered:
    """What a model computed for a request.

    `rows`: what was asked about, `encoded`: what was read of each, and `answers`: what `predict`
    answers to it; None and none where the graph's tensors were sent. `logits`: (W, V) of each row,
    W = 1 unless a row has several units.
    """

    interface: Interface
    rows: list[Row] | None
    encoded: list[Encoded]
    answers: list[Answer]
    logits: list[Array]

    @cached_property
    def flat(self) -> Array:
        """(P, V) the logits of all units, row after row."""
        # Softmax, decision and confidence cost a few microseconds a call, whatever its size.
        return np.concatenate(self.logits)

    @cached_property
    def abstains(self) -> Array:
        """(N) whether the artifact leaves a row to somebody else; of one without a promise none."""
        decision = self.interface.predictor.decision
        if decision.threshold is None:
            return np.zeros(len(self.logits), bool)
        if self.rows is not None:
            # Told already, and it takes as long as all else of a response.
            return np.array([each["abstain"] for each in self.answers])
        # Of all units of a row together, as its answer has it.
        return decision.confidence(self.flat, self.offsets) < decision.threshold

    @cached_property
    def offsets(self) -> Array:
        """(N + 1): row i has the units from offsets[i] to before offsets[i + 1]."""
        return np.cumsum([0, *map(len, self.logits)])
