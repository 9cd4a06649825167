"""The most that a request may hold."""

from typing import Protocol


class Limits(Protocol):
    """What `parse` is told; the server's own limits have these names too.

    `body_bytes`: of a whole request. `rows`: the first dimension of every input.
    `text_characters`: of a text, or of all words of a sentence.
    """

    @property
    def body_bytes(self) -> int: ...

    @property
    def rows(self) -> int: ...

    @property
    def text_characters(self) -> int: ...
