"""Speed, end to end from raw input to decoded answer, batch 1, and what it takes of disk and memory. Torch-free."""

import io
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.artifact.inputs import read_inputs
from limbeck.artifact.load import load
from limbeck.artifact.predictor import Predictor
from limbeck.core.memory import resident_mb
from limbeck.data.splits import load_splits
from limbeck.recipe.reading import read
from limbeck.sources import Row

ROWS = 200
MOST_ROWS = 5 * ROWS
BLOCK = 20  # rows of a turn
TOKENS = 128  # the length that published latencies of encoders are given for
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


def measure(
    artifact: Path, source: str | None, runtime: str | None, threads: int, *, test: bool = False
) -> Iterator[str]:
    """A table of p50, p99 and units a second: texts of 128 tokens, then the inputs of `source`, the test split of the artifact's recipe (`test`), or
    inputs drawn by a fixed seed; bytes and memory below. Raises ValueError."""
    if test and source is not None:
        raise ValueError(
            f"--test times the recipe's test split, `{source}` its own inputs: give one of the two"
        )
    before = resident_mb()
    predictor = load(artifact, runtime=runtime, threads=threads)
    images = "pixel_values" in predictor.task.input_names
    yield f"{predictor.runtime}, {threads} thread{'s' * (threads > 1)}, one input at a time, from raw input to decoded answer"
    yield f"{'':48} {'p50 ms':>9} {'p99 ms':>9}  a second"
    if not images:
        yield timed(predictor, *of_length(predictor))
    opened = resident_mb()
    if test:
        yield timed(predictor, "the test split in order", test_split(predictor))
    elif source is not None:
        yield timed(
            predictor,
            f"{source} in order",
            list(islice(read_inputs(source, iter(sys.stdin), images=images), MOST_ROWS)),
        )
    else:
        yield timed(predictor, "drawn at random", list(drawn(predictor, images)))
    size = sum(path.stat().st_size for path in artifact.iterdir())
    yield f"{size:,} bytes on disk; in memory {opened - before:.0f} MB, and {before:.0f} MB for Python and its packages"


def timed(predictor: Predictor, name: str, inputs: Sequence[Any]) -> str:
    """A line of the table: `inputs` one by one, in order."""
    task, kind = (
        predictor.task,
        "images" if "pixel_values" in predictor.task.input_names else "texts",
    )
    milliseconds = latencies({"artifact": predictor.predict}, inputs)["artifact"]
    p50, p99 = np.percentile(milliseconds, [50, 99])
    units = sum(len(task.encode([task.row(raw)])[0].labels) for raw in inputs)
    rates = [
        f"{count / milliseconds.sum() * 1000:,.0f} {what}"
        for count, what in ((len(inputs), kind), (units, "words"))
    ]
    return f"{f'{len(inputs):,} {kind}, {name}':48} {p50:9.3f} {p99:9.3f}  {', '.join(rates[: 1 + ('words' in task.row_keys)])}"


def test_split(predictor: Predictor) -> list[Any]:
    """The first inputs of the test split that the artifact's recipe names. Raises ValueError where it cannot be read here."""
    asked = read(predictor.folder / "recipe.yaml")
    try:
        labelled = asked.data.model_copy(update={"transfer": None, "unlabelled_rows": None})
        rows = load_splits(labelled, type(predictor.task)).test[:MOST_ROWS]
    except (OSError, ValueError) as error:
        raise ValueError(
            f"--test: the test split that this artifact's recipe names cannot be read from here: {error}"
        ) from None
    return [raw(row) for row in rows]


def raw(row: Row) -> Any:
    """A row as a user would send it: a text, a pair of texts, or the bytes of a PNG file."""
    if "words" in row:
        return " ".join(row["words"])
    if "text" in row:
        return [row["text"], row["text_b"]] if "text_b" in row else row["text"]
    return png(row["image"])


def of_length(predictor: Predictor) -> tuple[str, list[str]]:
    """Texts of 128 tokens, special ones counted, or of as many as the model reads."""
    task: Any = predictor.task
    wanted = min(TOKENS, task.tokenizer.truncation["max_length"])
    generator = np.random.default_rng(0)
    texts = []
    for _ in range(ROWS // 4):
        text = str(generator.choice(WORDS))
        while len(task.tokenizer.encode(text).ids) < wanted:
            text += f" {generator.choice(WORDS)}"
        texts.append(text)
    return f"{wanted} tokens each", texts


def drawn(predictor: Predictor, images: bool) -> Iterator[Any]:
    """Inputs by a fixed seed: PNG files of noise, or texts of 5 to 40 words."""
    task: Any = predictor.task
    generator = np.random.default_rng(0)
    for _ in range(ROWS):
        if images:
            yield png(
                generator.integers(
                    0, 256, (task.settings["height"], task.settings["width"], 3), np.uint8
                )
            )
        else:
            yield " ".join(generator.choice(WORDS, generator.integers(5, 41)))


def png(image: np.ndarray) -> bytes:
    """An image (H, W) or (H, W, 3) of uint8 as a file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def latencies(
    answerers: Mapping[str, Callable[[Any], Any]], rows: Sequence[Any], *, warmup: int = 10
) -> dict[str, np.ndarray]:
    """Milliseconds of every answer (rows,), one row at a time, in order; the answerers take turns, so that a slow minute hits all alike."""
    for answer in answerers.values():
        for row in rows[:warmup]:
            answer(row)
    measured: dict[str, list[float]] = {name: [] for name in answerers}
    for start in range(0, len(rows), BLOCK):
        for name, answer in answerers.items():
            for row in rows[start : start + BLOCK]:
                began = time.perf_counter()
                answer(row)
                measured[name].append((time.perf_counter() - began) * 1000)
    return {name: np.array(values) for name, values in measured.items()}


def summary(milliseconds: np.ndarray, *, threads: int, runtime: str) -> dict[str, Any]:
    """p50 and p99 for report.json."""
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return {
        "p50": round(float(p50), 3),
        "p99": round(float(p99), 3),
        "threads": threads,
        "runtime": runtime,
    }
