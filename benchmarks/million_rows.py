"""A million rows of text: what `limbeck check` takes, and how long a training waits for its first
step, before and after its tokens are cached.

    python benchmarks/million_rows.py MODEL [--rows N]

MODEL: an encoder's folder or hub id. The rows are drawn words with two labels, written to a
temporary folder with a cache of its own.
Prints seconds and the peak memory of each process.
"""

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = [
    f"{first}{last}"
    for first in ("rain", "bank", "card", "name", "lost", "new")
    for last in ("", "s", " of", " on", "ed")
]
RECIPE = """
task: text-classification
data: {{source: csv, path: {folder}}}
student: {{model: {model}}}
train: {{epochs: 1, learning_rate: 1.0e-4, batch_tokens: 2048, max_tokens: 64, threads: 2}}
quantize: {{when: train}}
"""


def write_rows(folder: Path, rows: int) -> None:
    """train.csv of `rows` texts, no two alike, and small validation and test files."""
    chance = random.Random(0)
    for name, count in (("train", rows), ("validation", 2000), ("test", 2000)):
        with open(folder / f"{name}.csv", "w") as file:
            file.write("text,label\n")
            for number in range(count):
                words = chance.choices(WORDS, k=chance.randint(5, 25))
                file.write(
                    f"{name} {number} {' '.join(words)},{'long' if len(words) > 15 else 'short'}\n"
                )


def command(verb: str, recipe: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "limbeck", verb, str(recipe), *more]


def check(recipe: Path) -> None:
    """Seconds and peak memory of `limbeck check`."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command("check", recipe), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    print(said)
    print(
        f"check: {time.perf_counter() - began:.1f} s, peak {peak_mb(used):,.0f} MB, exit {os.waitstatus_to_exitcode(status)}",
        flush=True,
    )


def first_step(recipe: Path, out: Path, title: str) -> None:
    """Seconds from the start of `limbeck run` to its first step, and of it those for encoding;
    then it is stopped."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command("run", recipe, "--out", str(out)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    encoding = 0.0
    for line in process.stderr:
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "end" and str(event["stage"]).startswith("encode"):
            encoding += event["seconds"]
        if event.get("event") == "progress" and str(event["stage"]).startswith("train"):
            break
    seconds = time.perf_counter() - began
    os.kill(process.pid, signal.SIGTERM)
    process.stderr.read()
    _, _, used = os.wait4(process.pid, 0)
    print(
        f"{title}: first step after {seconds:.1f} s, {encoding:.1f} of them for tokens; peak {peak_mb(used):,.0f} MB",
        flush=True,
    )


def peak_mb(used: resource.struct_rusage) -> float:
    return used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["LIMBECK_CACHE"] = str(folder / "cache")
        (folder / "data").mkdir()
        write_rows(folder / "data", arguments.rows)
        recipe = folder / "recipe.yaml"
        recipe.write_text(RECIPE.format(folder=folder / "data", model=arguments.model))
        check(recipe)
        first_step(recipe, folder / "run", "tokens not cached")
        first_step(recipe, folder / "run", "tokens cached")


if __name__ == "__main__":
    main()
