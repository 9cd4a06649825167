"""Counts that all workers of a server add to: a file in memory, with a row for each worker.

As on the board, a worker writes its own row alone; sums over the rows are the server's. A worker
that is started anew goes on with the row that the one before left.
"""

from pathlib import Path

import numpy as np

from limbeck.core.files import reserve

BYTES = 8  # of a number


def shared_rows(path: Path, rows: int, size: int) -> np.ndarray:
    """(rows, size) int64, zeros at first; what is written there reaches the file.

    Raises OSError where there is no room.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Each worker makes it as large as it is to be, and changes nothing that is there.
    with open(path, "ab") as file:
        file.truncate(rows * size * BYTES)
    reserve(path)
    content = np.memmap(path, np.int64, "r+")
    return np.asarray(content).reshape(rows, size)


def summed_rows(path: Path, size: int) -> list[int]:
    """The sums over the rows of a file, at this moment."""
    # Another worker may just be about to make it as large as it is to be.
    content = np.fromfile(path, np.int64)
    whole = len(content) // size * size
    sums: list[int] = content[:whole].reshape(-1, size).sum(0).tolist()
    return sums
