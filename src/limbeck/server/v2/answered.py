"""What a model computed for a request."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from limbeck.server.v2.errors import InvalidRequest
from limbeck.server.v2.interface import Interface
from limbeck.sources import Row
from limbeck.tasks.types import Answer, Array


@dataclass(frozen=True)
class Answered:
    """What a model computed for a request.

    `rows`: what was asked about; None where the graph's tensors were sent. `logits`: (W, V) of each
    row, W = 1 unless a row has several units.
    """

    interface: Interface
    rows: list[Row] | None
    logits: list[Array]

    @cached_property
    def answers(self) -> list[Answer]:
        """Of each row what `predict` answers."""
        if self.rows is None:
            raise InvalidRequest("an answer is made of a row: send it, and not tensors")
        # With the row, of which a tagger's answer repeats the words and their places in the text.
        answer = self.interface.predictor.answer
        return [answer(row, own) for row, own in zip(self.rows, self.logits, strict=True)]

    @cached_property
    def flat(self) -> Array:
        """(P, V) the logits of all units, row after row."""
        # Softmax, decision and confidence cost a few microseconds a call, whatever its size.
        return np.concatenate(self.logits)

    @cached_property
    def offsets(self) -> Array:
        """(N + 1): row i has the units from offsets[i] to before offsets[i + 1]."""
        return np.cumsum([0, *map(len, self.logits)])
