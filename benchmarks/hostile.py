"""Inputs that hang or eat a machine which trusts them: how each ends, in what time and memory.

    python benchmarks/hostile.py [--only WORD] [--write]

Each case of `hostile_cases.py` is written to a temporary folder and given to a command in a process of
its own (`measured.py`). Prints a line a case: the exit status, seconds of the processor and MB beyond
those of the same verb on good input, and what it said. The status is 1 where a case takes over 2 s or
300 MB more than that, leaves a traceback, or ends with another status than the 2 of a mistake (0 where
`predict` answers a bad line with an error and goes on). `--write` puts a row for each kind of input
into docs/guide.md, in place of the one that is there. `--only`: of kinds or places with that word.
"""

import argparse
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hostile_cases import DIGITS, TEXTS, Case, Command, all_cases, data_recipe, model_recipe, text

HERE = Path(__file__).parent
GUIDE = HERE.parent / "docs" / "guide.md"
BEGIN = "<!-- made by benchmarks/hostile.py: begin -->"
END = "<!-- made by benchmarks/hostile.py: end -->"
SECONDS, MB = 2.0, 300.0  # what a case may take more than good input of the same verb
STOPPED_AFTER = 120.0  # seconds; a case that hangs is ended
MOST_MEMORY = 6 << 30  # of a process, so that a case that fails here does not take the machine down
MOST_BYTES = 256 << 20  # of what is said: an answer repeats its input
MOST_LETTERS = 180  # of what was said that the guide shows


@dataclass(frozen=True)
class Ending:
    """How a command ended. `status`: None where it had to be stopped."""

    status: int | None
    seconds: float  # of the processor: others may fill the machine
    mb: float
    said: str


@dataclass(frozen=True)
class Row:
    """A case and how it ended. `wrong`: what is not as it should be; `seconds`, `mb`: beyond good
    input."""

    case: Case
    ending: Ending
    wrong: str
    seconds: float
    mb: float

    @property
    def told(self) -> str:
        """What was said, in a line: the message, or the line of answers with an error."""
        lines = self.ending.said.strip().splitlines() or [""]
        marks = ("limbeck:", '{"line"')
        found = [line for line in lines if line.startswith(marks) and "it snows" not in line]
        line = (found or lines[-1:])[-1].removeprefix("limbeck: ")
        line = line.split('"error": ')[-1].rstrip("}")
        # A line in a package, and a folder of this run, without where this machine keeps them.
        return re.sub(r"/\S+/site-packages/|/\S*/tmp\w+/", "", line)


def run(command: Command, folder: Path) -> Ending:
    """Run a command in the folder."""
    reads, writes = os.pipe()
    limits = [str(writes), str(STOPPED_AFTER), str(MOST_MEMORY)]
    launcher = [sys.executable, "-I", "-S", str(HERE / "measured.py"), *limits]
    words = [sys.executable, "-m", "limbeck", *command.arguments]
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as said:
        stdin.write(command.stdin)
        stdin.seek(0)
        subprocess.run([*launcher, *words], cwd=folder, stdin=stdin, stdout=said, stderr=said, pass_fds=[writes], check=True)  # fmt: skip
        os.close(writes)
        with os.fdopen(reads) as report:
            told = json.load(report)
        said.seek(0)
        words_said = said.read(MOST_BYTES).decode(errors="replace")
    return Ending(told["status"], told["seconds"], told["mb"], words_said)


def problem(ending: Ending, base: Ending, command: Command) -> str:
    """What is wrong with an ending; nothing where it is as it should be."""
    if ending.status is None:
        return "hangs"
    if "Traceback (most recent call last)" in ending.said:
        return "a traceback"
    if ending.status != command.status:
        return f"status {ending.status}"
    if command.says not in ending.said:
        return f"no `{command.says}`"
    if ending.seconds - base.seconds > SECONDS:
        return "too slow"
    return "too much memory" if ending.mb - base.mb > MB else ""


def verb_of(command: Command) -> str:
    """By what a command is compared with good input."""
    verb = command.arguments[0]
    return f"{verb} --data-only" if "--data-only" in command.arguments else verb


def bases(folder: Path, artifact: Path) -> dict[str, Ending]:
    """What each verb takes on good input."""
    text(folder / "data" / "train.csv", TEXTS)
    text(folder / "digits.yaml", DIGITS)
    good = {
        "init": Command(["init", "data", "--out", "new.yaml"]),
        "check --data-only": Command(data_recipe(folder, "source: csv, path: data")),
        "predict": Command(["predict", str(artifact)], b"it rains\n"),
        "evaluate": Command(["evaluate", str(artifact), "data/train.csv"]),
        "bench": Command(["bench", str(artifact), "data/train.csv"]),
        "check": model_recipe(folder, str(folder / "encoder")),
    }
    return {verb: run(command, folder) for verb, command in good.items()}


def prepared(home: Path) -> Path:
    """A tiny encoder in `home/encoder`, and the artifact of a run with it."""
    from attack import train_texts

    return train_texts(home)


def measured(case: Case, home: Path, base: dict[str, Ending]) -> Row:
    """Run one case in a folder of its own."""
    with tempfile.TemporaryDirectory(dir=home) as folder:
        command = case.make(Path(folder))
        ending = run(command, Path(folder))
    good = base[verb_of(command)]
    beyond = (max(ending.seconds - good.seconds, 0), max(ending.mb - good.mb, 0))
    ending = Ending(ending.status, ending.seconds, ending.mb, ending.said.replace(f"{folder}/", ""))
    return Row(case, ending, problem(ending, good, command), *beyond)


def line_of(rows: Sequence[Row]) -> str:
    """A row of the guide's table, of all cases of one kind."""
    by_verb: dict[str, list[str]] = {}
    for row in rows:
        verb, _, place = row.case.place.partition(": ")
        by_verb.setdefault(verb, []).append(place)
    places = [f"{verb} ({', '.join(each)})" if any(each) else verb for verb, each in by_verb.items()]  # fmt: skip
    ends = sorted({row.wrong or str(row.ending.status) for row in rows})
    told = rows[0].told.encode("ascii", "backslashreplace").decode()
    said = told.replace("|", "/").replace("`", "'")
    said = said if len(said) <= MOST_LETTERS else said[:MOST_LETTERS] + " ..."
    seconds, mb = max(row.seconds for row in rows), max(row.mb for row in rows)
    cells = [rows[0].case.kind, "; ".join(places), ", ".join(ends), f"{seconds:.1f}", f"{mb:.0f}", said]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def write_table(rows: Sequence[Row]) -> None:
    """Put rows into the guide's table, in place of those of the same kinds."""
    before, _, rest = GUIDE.read_text().partition(BEGIN)
    old, _, after = rest.partition(END)
    lines = {line.split(" | ")[0][2:]: line for line in old.strip().splitlines()[2:]}
    by_kind: dict[str, list[Row]] = {}
    for row in rows:
        by_kind.setdefault(row.case.kind, []).append(row)
    lines |= {kind: line_of(of_kind) for kind, of_kind in by_kind.items()}
    head = "| input | given to | status | s | MB | what is said |\n|---|---|---|---|---|---|"
    table = "\n".join([head, *lines.values()])
    GUIDE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")


def main() -> int:
    """Run every case, or those whose kind or place holds a word."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="kinds or places with this word")
    parser.add_argument("--write", action="store_true", help="put the table into docs/guide.md")
    asked = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        os.environ["LIMBECK_CACHE"] = f"{home}/cache"
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            artifact = pool.apply(prepared, (home,))
        base = bases(home, artifact)
        for verb, ending in base.items():
            print(f"{verb}: {ending.status} in {ending.seconds:.1f} s, {ending.mb:.0f} MB")
        print(
            "| input | place | status | s more | MB more | what it said |\n|---|---|---|---|---|---|"
        )
        for case in all_cases(artifact, home / "encoder"):
            if asked.only not in f"{case.kind} {case.place}":
                continue
            row = measured(case, home, base)
            rows.append(row)
            mark = f"**{row.wrong}** " if row.wrong else ""
            print(f"| {case.kind} | {case.place} | {mark}{row.ending.status} | {row.seconds:.1f} | {row.mb:.0f} | {row.told[:200]} |", flush=True)  # fmt: skip
    failed = [row for row in rows if row.wrong]
    print(f"{len(rows)} cases, {len(failed)} failed")
    if asked.write:
        write_table(rows)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
