"""Which words may stand in place of another, for copies of texts that a teacher labels.

`limbeck.pipeline.steps.copies` draws which words are replaced. `open` loads a model by name; what
it gives is asked for many places at once, so that a model runs in batches. An answer depends on the
sentence and the place alone, never on what is asked beside it.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

# The words of a sentence, and the index of the one that is to be replaced.
Place = tuple[Sequence[str], int]

# For each place the words that may stand there, the likeliest first; none where nothing fits.
Propose = Callable[[Sequence[Place]], list[list[str]]]


class Augmenter(Protocol):
    """One file, one way to replace words.

    `model`: the folder or hub id of the model that is asked; None means the teacher's.
    """

    model: str | None

    def open(self, model: str) -> Propose:
        """Load the model. Raises ValueError for one that cannot be asked."""
        ...
