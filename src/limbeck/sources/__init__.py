"""Where rows come from: `read() -> {split: rows}`; a bad row is named by file, line, column, value and cure.

A split is `train`, `validation`, `test`, or `unlabelled`. A row is a dict: `words` and `tags` (token classification) or `image` (H, W) or
(H, W, 3) uint8 and `label`. A tag or label of None is unknown: such a row has no task loss.
"""

from typing import Any, Protocol

Row = dict[str, Any]


class Source(Protocol):
    """One file, one way to read rows."""

    def read(self) -> dict[str, list[Row]]: ...
