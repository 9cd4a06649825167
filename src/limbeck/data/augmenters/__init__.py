"""Which words may stand in place of another, for copies of texts that a teacher labels (`limbeck.pipeline.copies` draws which are replaced).

`open` loads a model by name; what it gives is asked for many places at once, so that a model runs in batches. An answer depends on the sentence and
the place alone, never on what is asked beside it.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

Place = tuple[Sequence[str], int]  # the words of a sentence, and which of them is to be replaced
Propose = Callable[
    [Sequence[Place]], list[list[str]]
]  # for each place words that may stand there, the likeliest first; none where nothing fits


class Augmenter(Protocol):
    """One file, one way. `model`: the folder or hub id that it asks; None means the teacher's."""

    model: str | None

    def open(self, model: str) -> Propose:
        """Raises ValueError for a model that cannot be asked."""
        ...
