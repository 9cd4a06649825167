"""The most frequent tag of each word: what a tagger must beat that is to have learned context.

A word that train lacks takes the tag of its lower-case form, else the tag that most words have.
Shapes: P words, V tags.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from limbeck.sources import Row
from limbeck.tasks.likelihood import is_known


@dataclass(frozen=True)
class TagTable:
    """`tags`: the index of each word's tag. `other`: that of any other word. `num_tags`: V."""

    tags: dict[str, int]
    other: int
    num_tags: int

    title = "the most frequent tag of each word"

    @classmethod
    def fit(cls, rows: Sequence[Row], labels: np.ndarray, num_tags: int) -> "TagTable":
        """Count the tags of the words of `rows`; `labels` (P), unknown ones not."""
        words = [word for row in rows for word in row["words"]]
        counts: dict[str, np.ndarray] = {}
        for word, tag in zip(words, labels, strict=True):
            if not is_known(tag):
                continue
            # A word at the beginning of a sentence counts for both of its forms.
            for form in {word, word.lower()}:
                counts.setdefault(form, np.zeros(num_tags, np.int64))[tag] += 1
        most = np.bincount(labels[is_known(labels)], minlength=num_tags)
        # Of equally frequent tags the first.
        tags = {word: int(of_word.argmax()) for word, of_word in counts.items()}
        return cls(tags, int(most.argmax()), num_tags)

    @property
    def num_parameters(self) -> int:
        """How many words it knows."""
        return len(self.tags)

    def read(self, rows: Sequence[Row]) -> list[str]:
        """(P) the words."""
        return [word for row in rows for word in row["words"]]

    def logits(self, read: Sequence[str]) -> np.ndarray:
        """(P, V) 1 for the tag of each word, 0 for the others."""
        chosen = [self.tag(word) for word in read]
        return np.eye(self.num_tags, dtype=np.float32)[chosen]

    def tag(self, word: str) -> int:
        """The index of a word's tag."""
        return self.tags.get(word, self.tags.get(word.lower(), self.other))
