"""The table of `limbeck bench`: how fast an artifact answers, and its bytes and memory."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.artifact.load import load
from limbeck.artifact.predictor import Predictor
from limbeck.artifact.rows.inputs import png, read_inputs
from limbeck.artifact.speed import rounds
from limbeck.artifact.speed.inputs import write_inputs
from limbeck.artifact.speed.ratios import signs_of_noise
from limbeck.artifact.speed.rounds import Timed
from limbeck.artifact.speed.workers import Subject, Worker, started

NUM_DRAWN = 200  # inputs drawn at random: enough for a p99 that two of them exceed
MOST_ROWS = 5 * NUM_DRAWN  # of a user's inputs: a minute at 60 ms each
NUM_OF_LENGTH = 50  # all of one length, so their times spread less
TOKENS = 128  # the length that published latencies of encoders are given for
FEWEST_WORDS, MOST_WORDS = 5, 40  # of a drawn text: sentences as people write them
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "seven",
    "wizards",
    "of",
    "London",
    "mix",
    "jars",
]


def bench(
    artifact: Path,
    source: str | None,
    runtime: str | None,
    threads: int,
    *,
    test_rows: Sequence[Any] | None = None,
) -> Iterator[str]:
    """The lines of the table, each as soon as it is measured.

    Texts of 128 tokens come first, where the artifact reads texts. Then come the inputs of one
    kind: those of `source` (a file or folder), `test_rows` (raw inputs of a test split), or,
    without either, inputs drawn by a fixed seed. Bytes and memory stand below.

    Raises ValueError where the artifact or the source cannot be read.
    """
    predictor = load(artifact, runtime=runtime, threads=threads)
    yield (
        f"{predictor.runtime}, {threads} thread{'s' * (threads > 1)}, "
        "one input at a time, from raw input to decoded answer, in a process of its own"
    )
    yield f"{'':48} {'p50 ms':>9} {'p99 ms':>9}  a second"
    # This process reads the inputs, and another one answers.
    parts: list[tuple[str, Sequence[Any]]] = []
    if not predictor.reads_images:
        length = _length(predictor)
        parts.append((f"{length} tokens each", _texts_of_length(predictor, length)))
    parts.append(_inputs(predictor, source, test_rows))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        file = Path(folder) / "inputs.jsonl"
        write_inputs([given for _, inputs in parts for given in inputs], file)
        spec = {
            "artifact": str(artifact),
            "runtime": predictor.runtime,
            "threads": threads,
            "inputs": str(file),
        }
        with started(Subject("the artifact", predictor.runtime, spec)) as worker:
            yield from _table(predictor, worker, parts, threads)
            peak_mb = worker.peak_mb()
    size = sum(path.stat().st_size for path in artifact.iterdir())
    yield (
        f"{size:,} bytes on disk; {peak_mb:.0f} MB in memory at most, Python and its packages with "
        f"it; {worker.cold_start_ms:.0f} ms from the start of a process to its first answer"
    )


def _table(
    predictor: Predictor, worker: Worker, parts: Sequence[tuple[str, Sequence[Any]]], threads: int
) -> Iterator[str]:
    """A line for each kind of inputs, and one where the machine was busy meanwhile."""
    # One file holds all of them, one kind after the other.
    first = 0
    for title, inputs in parts:
        measured = rounds.measure({"artifact": worker}, len(inputs), threads=threads, first=first)
        first += len(inputs)
        yield _timed(predictor, title, inputs, measured["artifact"])
        for sign in signs_of_noise(measured):
            yield f"busy: {sign}"


def _inputs(
    predictor: Predictor, source: str | None, test_rows: Sequence[Any] | None
) -> tuple[str, Sequence[Any]]:
    """What the second line is called, and the raw inputs that it times."""
    if test_rows is not None:
        return "the test split in order", test_rows[:MOST_ROWS]
    if source is not None:
        inputs = read_inputs(source, sys.stdin.buffer, images=predictor.reads_images)
        return f"{source} in order", list(islice(inputs, MOST_ROWS))
    drawn = _drawn_images(predictor) if predictor.reads_images else _drawn_texts()
    return "drawn at random", drawn


def _timed(predictor: Predictor, title: str, inputs: Sequence[Any], measured: Timed) -> str:
    """A line of the table: `inputs` one by one, in order."""
    kind = "images" if predictor.reads_images else "texts"
    seconds = len(inputs) * float(measured.answers_ms.mean()) / 1000
    rates = f"{len(inputs) / seconds:,.0f} {kind}"
    task = predictor.task
    if "words" in task.row_keys:
        # After the timing: to count the words of a text, it is encoded again.
        rows = [task.row(raw) for raw in inputs]
        words = sum(len(task.encode([row])[0].labels) for row in rows)
        rates += f", {words / seconds:,.0f} words"
    name = f"{len(inputs):,} {kind}, {title}"
    return f"{name:48} {measured.p50:9.3f} {measured.p99:9.3f}  {rates}"


def _length(predictor: Predictor) -> int:
    """128 tokens, or as many as the model reads."""
    task: Any = predictor.task  # of one that reads texts: the protocol names no tokenizer
    return min(TOKENS, task.input.max_tokens)


def _texts_of_length(predictor: Predictor, length: int) -> list[str]:
    """Texts of `length` tokens, special ones counted."""
    task: Any = predictor.task
    generator = np.random.default_rng(0)
    texts = []
    for _ in range(NUM_OF_LENGTH):
        text = str(generator.choice(WORDS))
        while len(task.input.tokenizer.encode(text).ids) < length:
            text += f" {generator.choice(WORDS)}"
        texts.append(text)
    return texts


def _drawn_texts() -> list[str]:
    """Texts of 5 to 40 words by a fixed seed."""
    generator = np.random.default_rng(0)
    texts = []
    for _ in range(NUM_DRAWN):
        length = generator.integers(FEWEST_WORDS, MOST_WORDS + 1)
        texts.append(" ".join(generator.choice(WORDS, length)))
    return texts


def _drawn_images(predictor: Predictor) -> list[bytes]:
    """PNG files of noise, in the size that the model reads, by a fixed seed."""
    task: Any = predictor.task  # of one that reads images: the protocol names no settings
    settings = task.input.settings
    shape = (settings["height"], settings["width"], 3)
    generator = np.random.default_rng(0)
    files = []
    for _ in range(NUM_DRAWN):
        image = generator.integers(0, 256, shape, np.uint8)
        files.append(png(image))
    return files
