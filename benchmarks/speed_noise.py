"""One artifact against itself: how often does a measurement of speed call that a difference?

    python benchmarks/speed_noise.py ARTIFACT            20 times on the machine as it is
    python benchmarks/speed_noise.py ARTIFACT --busy     20 times beside a spinning process for each core

The artifact answers in two processes, as the subjects of a run do (`artifact.speed`), inputs drawn as `limbeck bench` draws them. A line for each time:
the ratio, its interval, whether the interval leaves 1 out (`significant`: expected about once in 20, at most 4 times), whether it would be called SLOWER, and
whether the machine was called busy. The last line also says how far the ratios spread, which `ratios.PROCESSES` is to hold.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limbeck.artifact import bench
from limbeck.artifact.load import load
from limbeck.artifact.speed import ratios, rounds
from limbeck.artifact.speed.inputs import write_inputs
from limbeck.artifact.speed.ratios import Ratio
from limbeck.artifact.speed.workers import Subject, started
from limbeck.core.system import machine

TIMES = 20
# Significant by chance in about one of 20; in more than four of 20 once in a thousand.
MOST = 4


@dataclass(frozen=True)
class Found:
    """One measurement of an artifact against itself."""

    ratio: Ratio
    busy: list[str]

    @property
    def is_significant(self) -> bool:
        """Whether the interval says that the two differ."""
        return not self.ratio.low <= 1 <= self.ratio.high


@contextlib.contextmanager
def competing_load(processes: int) -> Iterator[None]:
    """So many processes that do nothing but spin."""
    spinning = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)
    ]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def measure(artifact: Path, times: int = TIMES) -> Iterator[Found]:
    """The artifact against itself, in two new processes each time."""
    predictor = load(artifact)
    drawn = bench._drawn_images(predictor) if predictor.reads_images else bench._drawn_texts()
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs.jsonl"
        write_inputs(drawn, inputs)
        spec = {
            "artifact": str(artifact),
            "runtime": predictor.runtime,
            "threads": 1,
            "inputs": str(inputs),
        }
        subject = Subject("the artifact", predictor.runtime, spec)
        for _ in range(times):
            with started(subject) as one, started(subject) as other:
                measured = rounds.measure({"one": one, "other": other}, len(drawn), threads=1)
            ratio = ratios.ratio(measured["one"], measured["other"])
            yield Found(ratio, ratios.signs_of_noise(measured))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--times", type=int, default=TIMES)
    arguments = parser.parse_args()
    all_found = []
    with competing_load(machine.usable_cores() if arguments.busy else 0):
        for found in measure(arguments.artifact, arguments.times):
            all_found.append(found)
            words = [
                *(["significant"] if found.is_significant else []),
                *(["SLOWER"] if found.ratio.is_slower or found.ratio.inverse.is_slower else []),
                *(["busy"] if found.busy else []),
            ]
            print(
                f"{found.ratio.ratio:.3f} [{found.ratio.low:.3f}, {found.ratio.high:.3f}] {' '.join(words)}",
                flush=True,
            )
    spread = np.exp(np.abs(np.log([found.ratio.ratio for found in all_found])))
    print(
        f"significant {sum(found.is_significant for found in all_found)}, busy {sum(bool(found.busy) for found in all_found)} of {len(all_found)}; "
        f"ratios differ from 1 by {np.median(spread) - 1:.1%} (median), {spread.max() - 1:.1%} at most"
    )


if __name__ == "__main__":
    main()
