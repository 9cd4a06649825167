"""Where rows come from: `read(bad) -> {split: rows}`; a bad row is named by file, line, column, value and cure.

A split is `train`, `validation`, `test`, or `unlabelled`. A row is a dict: `words` and `tags` (token classification), `text`, where there is one
`text_b`, and `label` (text classification; a number for text regression, a list for several, the item's for ranking), `text` alone (masked language
modelling), or `image` (H, W) or (H, W, 3) uint8 and `label`. A tag or label of None is unknown: such a row has no task loss.

A source hands each row that it cannot use to `bad` and goes on; `fail`, the default, raises it. A file that cannot be read at all is a ValueError.
"""

from collections.abc import Callable
from typing import Any, Protocol

Row = dict[str, Any]


class BadRow(ValueError):
    """A row that cannot be used: `place` (file:line, as precisely as it is known), what is wrong and how to mend it, and the row as found."""

    def __init__(self, place: str, problem: str, content: Any = None) -> None:
        super().__init__(f"{place}: {problem}")
        self.place, self.problem, self.content = place, problem, content


OnBadRow = Callable[[BadRow], None]


def fail(row: BadRow) -> None:
    """Stop at the first bad row."""
    raise row


class Source(Protocol):
    """One file, one way to read rows."""

    def read(self, bad: OnBadRow = fail) -> dict[str, list[Row]]: ...
