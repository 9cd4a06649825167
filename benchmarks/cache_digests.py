"""What the digests of cache entries cost: when an entry is finished, when it is opened, and again.

    python benchmarks/cache_digests.py [--megabytes 50,500]

Prints milliseconds, the median of five, of an entry with one file, and of one with a hundred, of so
many megabytes in all. `again` is an entry that this process has checked: it is looked at, not read.
Files are in the system's memory, as those that a run has just written are.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from limbeck.core.cache import entries
from limbeck.core.cache.store import Store

REPEATS = 5


def milliseconds(work: Callable[[], object]) -> float:
    """The median of a few calls."""
    times: list[float] = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", default="50,500")
    sizes = [int(word) for word in parser.parse_args().megabytes.split(",")]
    for megabytes in sizes:
        for num_files in (1, 100):
            with tempfile.TemporaryDirectory() as folder:
                measure(Path(folder), megabytes, num_files)


def measure(folder: Path, megabytes: int, num_files: int) -> None:
    """Print a line for one entry."""

    def build(place: Path) -> None:
        for number in range(num_files):
            (place / f"{number}").write_bytes(os.urandom(megabytes * 10**6 // num_files))

    store = Store(folder)
    entry = store.stage("train", {}, build)
    sealed = milliseconds(lambda: entries.seal(entry, entry.name))
    opened = milliseconds(lambda: Store(folder).stage("train", {}, build))
    again = milliseconds(lambda: store.stage("train", {}, build))
    print(
        f"{megabytes} MB in {num_files} files: finished {sealed:.1f} ms, "
        f"opened {opened:.1f} ms ({megabytes / opened:.2f} GB/s), again {again:.1f} ms"
    )


if __name__ == "__main__":
    main()
