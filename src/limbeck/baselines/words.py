"""What a linear model reads of texts: how often words, pairs of words and pieces of words occur.

TF-IDF (Sparck Jones, 1972, Journal of Documentation 28, 11-21) with log counts, of words and pairs
of words and of 2 to 5 characters within words. Of a pair of texts: both, and what they share and do
not share. Shapes: N rows, F features.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from limbeck.sources import Row
from limbeck.tasks.inputs.tokenized import single_texts_of

# The most frequent ones, of words and of characters each.
MOST_FEATURES = 50_000


class WordCounts:
    """Reads texts as the words and pieces of words of the rows that it was made from."""

    def __init__(self, rows: Sequence[Row]) -> None:
        """Raises ValueError where no text has a character that is no space."""
        # Loaded here: they take a second, and only a verdict needs them.
        from sklearn.feature_extraction.text import TfidfVectorizer

        common: dict[str, Any] = {
            "sublinear_tf": True,
            "max_features": MOST_FEATURES,
            "dtype": np.float32,
        }
        texts = all_texts(rows)
        # Asked of train alone: a few other rows may all be single.
        self.reads_pairs = any("text_b" in row for row in rows)
        self.vectorizers = []
        kinds: list[dict[str, Any]] = [
            # One letter is a word in many languages; the default asks for two.
            {"ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
            {"ngram_range": (2, 5), "analyzer": "char_wb"},
        ]
        for kind in kinds:
            vectorizer = TfidfVectorizer(**common, **kind)
            try:
                vectorizer.fit(texts)
            except ValueError:
                # No words at all (emoji, or marks alone): the characters may do.
                continue
            self.vectorizers.append(vectorizer)
        if not self.vectorizers:
            raise ValueError("no text of train has a character to count")

    def texts(self, texts: Sequence[str]) -> Any:
        """(N, F) of single texts, sparse."""
        from scipy.sparse import hstack

        return hstack([vectorizer.transform(texts) for vectorizer in self.vectorizers]).tocsr()

    def rows(self, rows: Sequence[Row]) -> Any:
        """(N, F), sparse; (N, 4 F) where rows of train are pairs of texts."""
        from scipy.sparse import hstack

        first = self.texts([row["text"] for row in rows])
        if not self.reads_pairs:
            return first
        second = self.texts([row.get("text_b", "") for row in rows])
        return hstack([first, second, first.multiply(second), abs(first - second)]).tocsr()


def all_texts(rows: Sequence[Row]) -> list[str]:
    """The one or two texts of every row."""
    return [text for row in rows for text in single_texts_of(row)]
