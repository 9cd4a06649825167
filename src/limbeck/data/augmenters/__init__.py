"""Which words may stand in place of another, for copies of texts that a teacher labels.

`limbeck.pipeline.steps.copies` draws which words are replaced. `open` loads a model by name; what
it gives is asked for many places at once, so that a model runs in batches. An answer depends on the
sentence and the place alone, never on what is asked beside it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from limbeck.core import registry
from limbeck.core.contract import wrong_return

# The words of a sentence, and the index of the one that is to be replaced.
Place = tuple[Sequence[str], int]

MISSING = object()

# For each place the words that may stand there, the likeliest first; none where nothing fits.
Propose = Callable[[Sequence[Place]], list[list[str]]]


def model_of(name: str, augmenter: "Augmenter") -> str | None:
    """The model that an augmenter, perhaps somebody else's, asks. Raises ValueError without one."""
    model = getattr(augmenter, "model", MISSING)
    if not isinstance(model, str | None):
        raise ValueError(
            f"the augmenter `{name}` has no attribute `model`: the folder or hub id of the model "
            "that is asked, or None for the teacher's"
        )
    return model


def checked(name: str, propose: Any) -> Propose:
    """What an augmenter, perhaps somebody else's, opened; it refuses candidates that are none.

    Raises ValueError where it opened nothing that can be asked.
    """
    augmenter = f"the augmenter `{name}`"
    if not callable(propose):
        called = registry.method_of("augmenters", name, "open")
        raise wrong_return(augmenter, "open", propose, "a function of places", called)

    def run(places: Sequence[Place]) -> list[list[str]]:
        proposed = propose(places)
        if not isinstance(proposed, list) or len(proposed) != len(places):
            expected = f"a list of words for each of {len(places)} places"
            raise wrong_return(augmenter, "open(...)(places)", proposed, expected, propose)
        for words in proposed:
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                expected = "words for each place"
                raise wrong_return(augmenter, "open(...)(places)", words, expected, propose)
        return proposed

    return run


class Augmenter(Protocol):
    """One file, one way to replace words.

    `model`: the folder or hub id of the model that is asked; None means the teacher's.
    """

    model: str | None

    def open(self, model: str) -> Propose:
        """Load the model. Raises ValueError for one that cannot be asked."""
        ...
