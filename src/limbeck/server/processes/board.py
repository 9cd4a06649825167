"""Numbers that all workers of a server see: a file in memory, with a row for each worker.

A worker writes its own row alone, so nothing is locked: an aligned number of 64 bits is written
whole or not at all. Sums over the rows are what the server as a whole has. Below the rows lie
numbers that all of them write (`shared`): of two at one moment the later one stays.
"""

import mmap
import sys
import time
from pathlib import Path

from limbeck.core.files import reserve

# What a row holds, by its place. READY: the moment, in nanoseconds by the monotonic clock, at which
# the worker last said that it answers; 0 before it does, and once it is to stop.
PROCESS, WAITING, READY, GENERATION, FAILED = range(5)
ROW = 8
# Numbers that all write, in pairs: a key, and when the token of that key may ask again.
PAIRS = 4096
SHARED = 2 * PAIRS
# The last numbers of the file: how often tokens were read anew, and when it all began, by the
# system's clock and by the one that nobody sets.
END = 3
BYTES = 8  # of a number
BEAT_SECONDS = 1.0  # from one time that a worker says that it answers to the next
# One that has said nothing for so long is stopped, or hangs.
LATELY_SECONDS = 5.0


class Board:
    """The numbers of all workers.

    Args:
        path: the file, which `create` made.
        row: the worker that this process is; the supervisor looks at all and is none.
    """

    def __init__(self, path: Path, row: int = 0) -> None:
        with open(path, "r+b") as file:
            content = mmap.mmap(file.fileno(), 0)
        # Numbers of a memoryview are read and written in a tenth of numpy's time.
        numbers = memoryview(content).cast("q")
        self.rows = numbers[: -SHARED - END]
        self.shared = numbers[-SHARED - END : -END]
        # By the supervisor, which alone writes it; workers read the file where it has risen.
        self.token_reads = numbers[-END : 1 - END]
        # When the server began, in nanoseconds since 1970: no worker has lived as long.
        self.began = numbers[-2]
        self.began_monotonic = numbers[-1]
        self.row = row
        self.own = self.rows[row * ROW : (row + 1) * ROW]

    @staticmethod
    def create(path: Path, workers: int) -> None:
        """Make the file of so many workers, all zeros. Raises OSError where there is no room."""
        with open(path, "wb") as file:
            file.seek((workers * ROW + SHARED + END - 2) * BYTES)
            for moment in (time.time_ns(), time.monotonic_ns()):
                # In the byte order in which a memoryview reads it.
                file.write(moment.to_bytes(BYTES, sys.byteorder))
        reserve(path)

    @property
    def uptime_seconds(self) -> float:
        """For how long the server runs, whatever the system's clock was set to meanwhile."""
        return (time.monotonic_ns() - self.began_monotonic) / 1e9

    def beat(self) -> None:
        """Say that this worker answers."""
        self.own[READY] = time.monotonic_ns()

    @property
    def num_ready(self) -> int:
        """How many workers have said lately that they answer."""
        since = time.monotonic_ns() - int(LATELY_SECONDS * 1e9)
        return sum(1 for moment in self.of_all(READY) if moment and moment >= since)

    @property
    def num_workers(self) -> int:
        """How many workers the server has."""
        return len(self.rows) // ROW

    def of_all(self, field: int) -> list[int]:
        """A field of each worker."""
        return self.rows[field::ROW].tolist()

    def total(self, field: int) -> int:
        """The sum of a field over all workers."""
        return sum(self.of_all(field))

    def place_of_key(self, key: bytes) -> int:
        """The place in `shared` of a number that belongs to a key; the same one in every worker.

        Raises ValueError where as many keys as have places were seen since the server began.
        """
        wanted = int.from_bytes(key[:7]) + 1  # 0 is no key
        for step in range(PAIRS):
            place = 2 * ((wanted + step) % PAIRS)
            if self.shared[place] in (0, wanted):
                self.shared[place] = wanted
                return place + 1
        raise ValueError(f"more than {PAIRS:,} tokens since the server began: start it anew")

    def clear(self, row: int) -> None:
        """Forget the state of a worker that died."""
        for field in range(ROW):
            self.rows[row * ROW + field] = 0
