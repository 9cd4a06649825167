"""Speed, end to end from raw input to decoded answer, batch 1. Torch-free."""

import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.runtime import Predictor, load, read_inputs

ROWS = 200
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "seven", "wizards", "of", "London", "mix", "jars"]


def measure(artifact: Path, source: str | None, runtime: str | None, threads: int) -> list[str]:
    """Lines with p50, p99, units a second and bytes for the inputs of `source`, or for drawn ones."""
    predictor = load(artifact, runtime=runtime, threads=threads)
    images = "pixel_values" in predictor.task.input_names
    rows = list(islice(read_inputs(source, iter(sys.stdin), images=images), 5 * ROWS)) if source else list(drawn(predictor, images))
    milliseconds = latencies({"artifact": predictor.predict}, rows)["artifact"]
    p50, p99 = np.percentile(milliseconds, [50, 99])
    units = sum(len(predictor.task.encode([predictor.task.row(row)])[0].labels) for row in rows)
    size = sum(path.stat().st_size for path in artifact.iterdir())
    kind = "images" if images else "texts"
    what = kind if units == len(rows) else "words"
    origin = "drawn at random" if source is None else source
    return [
        f"{len(rows)} {kind} ({origin}), one at a time, {predictor.runtime}, {threads} threads",
        f"p50 {p50:.3f} ms   p99 {p99:.3f} ms   {units / milliseconds.sum() * 1000:,.0f} {what} a second   {size:,} bytes",
    ]


def drawn(predictor: Predictor, images: bool) -> Iterator[Any]:
    """Inputs by a fixed seed: PNG files of noise, or texts of 5 to 40 words."""
    generator = np.random.default_rng(0)
    for _ in range(ROWS):
        if not images:
            yield " ".join(generator.choice(WORDS, generator.integers(5, 41)))
            continue
        from PIL import Image

        settings: Any = predictor.task
        shape = (settings.settings["height"], settings.settings["width"], 3)
        file = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, shape, np.uint8)).save(file, "PNG")
        yield file.getvalue()


def latencies(answerers: dict[str, Callable[[Any], Any]], rows: Sequence[Any], *, warmup: int = 10) -> dict[str, np.ndarray]:
    """Milliseconds of every answer (rows,), one row at a time, in order; the answerers take turns, so that a slow minute hits all alike."""
    for answer in answerers.values():
        for row in rows[:warmup]:
            answer(row)
    measured: dict[str, list[float]] = {name: [] for name in answerers}
    for start in range(0, len(rows), 20):
        for name, answer in answerers.items():
            for row in rows[start : start + 20]:
                began = time.perf_counter()
                answer(row)
                measured[name].append((time.perf_counter() - began) * 1000)
    return {name: np.array(values) for name, values in measured.items()}


def summary(milliseconds: np.ndarray, *, threads: int, runtime: str) -> dict[str, Any]:
    """p50 and p99 for report.json."""
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3), "threads": threads, "runtime": runtime}
