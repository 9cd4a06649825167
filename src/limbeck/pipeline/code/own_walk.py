"""A walk through the objects of a user's module that digests what each of them is.

How a kind of object is digested stands in `own_values` (what holds data) and `own_objects` (what
holds code); here it is found by its type, and each object is met once: they may hold one another.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

# (types, what digests a value of them and what it reaches); the first that fits is taken.
Visits = Sequence[tuple[Any, Callable[["Walk", Any, str], None]]]

# Values that print what they are.
PLAIN = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    range,
    slice,
    type(Ellipsis),
    type(NotImplemented),
    Enum,
    PurePath,
    re.Pattern,
    np.generic,
    np.dtype,
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
)


class Unreadable(ValueError):
    """Something that a module reaches and whose code cannot be read."""


class Walk:
    """A digest of all that was met.

    visits: how each kind of object is digested.
    seen: number of each object that was met, by identity.
    kept: the objects themselves: an identity is free again once its object is gone.
    """

    def __init__(self, visits: Visits) -> None:
        self.visits = visits
        self.sha = hashlib.sha256()
        self.seen: dict[int, int] = {}
        self.kept: list[Any] = []

    def emit(self, *words: object) -> None:
        """Digest a line."""
        self.sha.update(repr(words).encode())

    def visit(self, value: Any, where: str) -> None:
        """Digest a value, and what it reaches.

        Args:
            value: anything.
            where: the way to it, for a message.

        Raises:
            Unreadable: it holds code or data that cannot be read.
        """
        # 1. Values without identity.
        if isinstance(value, PLAIN):
            self.emit(type(value).__name__, repr(value))
            return
        # 2. An object that was met is named by its number: objects may hold one another.
        number = self.seen.get(id(value))
        if number is not None:
            self.emit("again", number)
            return
        self.seen[id(value)] = len(self.seen)
        self.kept.append(value)
        # 3. By kind; the first that fits.
        for kinds, visit in self.visits:
            if isinstance(value, kinds):
                visit(self, value, where)
                return

    def visit_all(self, values: Iterable[Any], where: str) -> None:
        """Digest values in order."""
        for number, value in enumerate(values):
            self.emit("item")
            self.visit(value, f"{where}[{number}]")
