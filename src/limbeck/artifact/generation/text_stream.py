"""Tokens to text that can be shown at once.

A token may be a part of a character's bytes, or the beginning of a stop word. Neither is shown
before it is known what it becomes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Bytes that are no character, or not yet.
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class TextStream:
    """The text of tokens as they come; special tokens have none.

    What a token adds depends on the few before it (a blank that begins a word, a byte of a
    character), so that the text since the last whole character is decoded again, and no more.
    """

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self.tokenizer = tokenizer
        self.ids: list[int] = []
        # Before `start` all is forgotten; what lies before `shown` was given already.
        self.start = 0
        self.shown = 0

    def add(self, token: int) -> str:
        """What can be shown after one more token."""
        self.ids.append(token)
        text = self.new_text()
        # It may become a character with the bytes of the next token.
        if text.endswith(REPLACEMENT):
            return ""
        # A special token has no text: what came before it still decides on the blank.
        if text:
            self.start, self.shown = self.shown, len(self.ids)
        return text

    def finish(self) -> str:
        """What was held back: bytes that never became a character."""
        text = self.new_text()
        self.start = self.shown = len(self.ids)
        return text

    def new_text(self) -> str:
        """The text of the ids that were not shown."""
        before = self.tokenizer.decode(self.ids[self.start : self.shown])
        both = self.tokenizer.decode(self.ids[self.start :])
        return both[len(before) :]


class StopWords:
    """Text up to the first of some words, wherever the borders of its pieces lie.

    Raises ValueError for a word without a character.
    """

    def __init__(self, words: Sequence[str]) -> None:
        if not all(words):
            raise ValueError("stop: a word needs at least one character")
        self.words = tuple(words)
        self.held = ""
        self.is_stopped = False

    def add(self, piece: str) -> str:
        """What can be shown after one more piece; nothing any more once a word has come."""
        if self.is_stopped:
            return ""
        text = self.held + piece
        found = (text.find(word) for word in self.words)
        places = [place for place in found if place >= 0]
        if places:
            self.is_stopped = True
            self.held = ""
            return text[: min(places)]
        # The longest beginning: of two words that may begin here, both are waited for.
        held = max((beginning(text, word) for word in self.words), default=0)
        self.held = text[len(text) - held :]
        return text[: len(text) - held]

    def finish(self) -> str:
        """What was held back and became no stop word."""
        text, self.held = self.held, ""
        return text


def beginning(text: str, word: str) -> int:
    """How many characters at the end of a text may begin a word.

    >>> beginning("One. Us", "User:"), beginning("One.", "User:")
    (2, 0)
    """
    # From the longest on; a whole word was looked for before.
    for length in range(min(len(text), len(word) - 1), 0, -1):
        if text.endswith(word[:length]):
            return length
    return 0
