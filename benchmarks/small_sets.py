"""What `limbeck init`'s recipe, unedited, makes of small data sets:
`python benchmarks/small_sets.py RUNS FOLDER... --model MODEL`.

Each FOLDER holds a set as it lies; what `limbeck init` needs beside the folder may stand in a file
FOLDER.what (its options, as in a shell). Each is read and run as a user types it, and a table tells
rows, metric, the linear baseline, the teacher, the int8 student, the verdict with its first reason,
minutes on the clock, and minutes of CPU, which other work on the machine lengthens less. RUNS keeps
recipes, logs and run folders; a finished run is not repeated.

Keys that `--with` overrides, such as `verdict.arms=[joint]`, make the runs shorter; then the
recipe is not unedited any more, and the table says so.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LIMBECK = [sys.executable, "-m", "limbeck"]
HEAD = "| set | rows | task | metric | baseline | teacher | student | verdict | minutes | of CPU |"
IMAGES = "task: image-classification"
ROWS = re.compile(r"([0-9,]+) rows to train on")  # as init says it of few
MOST_REASON = 160  # characters of a reason that the table shows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="where recipes and runs are written")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--model", help="the teacher of texts: a hub id or a folder")
    parser.add_argument("--with", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seconds", type=float, default=3600, help="at most, for each set")
    given = parser.parse_args()
    given.runs.mkdir(parents=True, exist_ok=True)
    lines = []
    for folder in given.folders:
        lines.append(row(folder, given))
        # A killed benchmark has shown what it found.
        print(lines[-1], flush=True)
    told = f" with {' '.join(given.changes)}" if given.changes else ""
    print(f"\n`limbeck init`'s recipes{told}\n\n{HEAD}\n|{'---|' * (HEAD.count('|') - 1)}")
    print("\n".join(lines))


def row(folder: Path, given: argparse.Namespace) -> str:
    """The line of the table for one set."""
    recipe = given.runs / f"{folder.name}.yaml"
    out = given.runs / folder.name
    try:
        if not recipe.exists():
            words = ["init", str(folder), "--out", str(recipe), *asked(folder)]
            call(words, given, out)
            # The model that is at hand is one of texts; images have a network of ours.
            if given.model and IMAGES not in recipe.read_text():
                recipe.unlink()
                call([*words, "--model", given.model], given, out)
        if not (out / "report.json").exists():
            began, used = time.monotonic(), cpu_of_children()
            call(["run", str(recipe), "--out", str(out), *given.changes], given, out)
            minutes = (time.monotonic() - began) / 60
            of_cpu = (cpu_of_children() - used) / 60
            (given.runs / f"{folder.name}.minutes").write_text(f"{minutes:.1f} | {of_cpu:.1f}")
    except RuntimeError as error:
        return f"| {folder.name} | {error} |"
    report = json.loads((out / "report.json").read_text())
    minutes = (given.runs / f"{folder.name}.minutes").read_text()
    return told(folder.name, report, recipe.read_text(), minutes)


def cpu_of_children() -> float:
    """Seconds of CPU of all processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def asked(folder: Path) -> list[str]:
    """What `limbeck init` is to be told of a set beside its folder."""
    what = folder.with_suffix(".what")
    return shlex.split(what.read_text()) if what.exists() else []


def call(words: list[str], given: argparse.Namespace, out: Path) -> None:
    """Run limbeck as a user does. Raises RuntimeError where it ends as it should not."""
    log = out.with_suffix(".log")
    with log.open("a") as file:
        try:
            ended = subprocess.run(
                [*LIMBECK, *words], stdout=file, stderr=file, timeout=given.seconds, check=False
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"ended after {given.seconds / 60:.0f} minutes") from None
    # 1 is a verdict that failed, which is a result.
    if ended.returncode > 1:
        last = log.read_text().strip().splitlines()[-1]
        raise RuntimeError(f"`limbeck {words[0]}` ended with {ended.returncode}: {last}")


def told(name: str, report: dict[str, Any], recipe: str, minutes: str) -> str:
    """A finished run's line."""
    metric = report["metric"]["name"]
    arms = report["arms"]
    verdict = report["verdict"]
    found = ROWS.search(recipe)
    rows = found[1] if found else "-"
    scores = [score(arms.get(arm), metric) for arm in ("baseline", "teacher", "joint")]
    word = "kept" if verdict["kept"] else f"not kept: {verdict['reasons'][0][:MOST_REASON]}"
    cells = [name, rows, report["task"], metric, *scores, word, minutes]
    return f"| {' | '.join(cells)} |"


def score(arm: dict[str, Any] | None, metric: str) -> str:
    """The judged metric of an arm, a dash where there is no such arm."""
    value = arm["mean"].get(metric) if arm else None
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
