"""Answers a second of an artifact, one by one and in batches, and the memory of a long file.

    python benchmarks/batches.py ARTIFACT texts.csv --rows 1000
    python benchmarks/batches.py ARTIFACT texts.csv --lines 1000000

The first line of its table is `limbeck predict` one by one, the others `--batch N`; each takes its
turn three times, and the best is told, since other programs only make it slower. The answers of all
are compared. With `--lines`, the rows are repeated to so many, answered as `limbeck predict` does,
and the memory is told at each tenth.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

from limbeck.artifact.answers import answer_lines, json_lines
from limbeck.artifact.load import load
from limbeck.artifact.predictor import Predictor
from limbeck.artifact.rows.columns import ColumnFinder
from limbeck.artifact.rows.inputs import Item, Reading, read_items, recipe_data
from limbeck.core.system.memory import resident_mb

TURNS = 3


def rates(predictor: Predictor, items: list[Item], batches: list[int]) -> None:
    """Print rows a second for each size of a batch, and how many lines differ from one by one."""
    best = dict.fromkeys(batches, float("inf"))
    lines: dict[int, list[str]] = {}
    for _ in range(TURNS):
        for batch in batches:
            began = time.perf_counter()
            answers = answer_lines(predictor, items, batch, one_by_one=False)
            lines[batch] = list(json_lines(answers))
            best[batch] = min(best[batch], time.perf_counter() - began)
    for batch, seconds in best.items():
        others = zip(lines[1], lines[batch], strict=True)
        different = sum(one != other for one, other in others)
        ratio = best[1] / seconds
        print(
            f"batch {batch:4}: {len(items) / seconds:8,.0f} rows a second, {ratio:.2f} x one by one; "
            f"{different} of {len(items)} lines differ"
        )


def memory(predictor: Predictor, items: list[Item], count: int, batch: int) -> None:
    """Print the memory of this process while it answers `count` rows."""

    def repeated() -> Iterator[Item]:
        for number, item in enumerate(islice(cycle(items), count), 1):
            yield replace(item, line=number)

    began = time.perf_counter()
    answers = answer_lines(predictor, repeated(), batch, one_by_one=False)
    for number, _ in enumerate(json_lines(answers), 1):
        if number % (count // 10) == 0:
            seconds = time.perf_counter() - began
            print(f"{number:10,} rows, {seconds:7.1f} s: {resident_mb():8.1f} MB", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("source")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--lines", type=int)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8, 16, 32, 64])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runtime")
    asked = parser.parse_args()
    predictor = load(asked.artifact, runtime=asked.runtime, threads=asked.threads)
    reading = Reading(ColumnFinder(predictor.kind, {}, recipe_data(asked.artifact)))
    items = list(islice(read_items(asked.source, None, reading), asked.rows))
    print(predictor, f"{asked.threads} threads, {len(items)} rows")
    if predictor.why_one_by_one:
        print(predictor.why_one_by_one)
    if asked.lines:
        memory(predictor, items, asked.lines, asked.batches[-1])
    else:
        rates(predictor, items, asked.batches)


if __name__ == "__main__":
    main()
