"""`limbeck predict` over a million rows: seconds, and whether its memory grows with them.

    python benchmarks/million_answers.py ARTIFACT [--rows N] [--batch N] [--runtime NAME]

ARTIFACT: one that reads texts. The rows are drawn words in a csv of a temporary folder, a thousandth
of them broken; the answers go to a pipe that is read line by line. Prints the resident memory of the
process after each tenth of the answers, the number of answers and of errors, and the peak.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from million_rows import WORDS, peak_mb

BROKEN_EVERY = 1000


def write_rows(path: Path, rows: int) -> None:
    """A csv of `rows` texts, of which each thousandth has a column too many."""
    chance = random.Random(0)
    with open(path, "w") as file:
        file.write("id,text\n")
        for number in range(rows):
            words = " ".join(chance.choices(WORDS, k=chance.randint(3, 12)))
            more = ",more" * (number % BROKEN_EVERY == 0)
            file.write(f"{number},{words}{more}\n")


def resident_mb(process: int) -> float:
    """The memory that a process holds now (Linux)."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artifact")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--runtime", default="onnxruntime")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.csv"
        write_rows(rows, asked.rows)
        command = [sys.executable, "-m", "limbeck", "predict", asked.artifact, str(rows)]
        command += ["--batch", str(asked.batch), "--runtime", asked.runtime]
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        num_answers = num_errors = 0
        for line in process.stdout:
            num_answers += 1
            num_errors += "error" in json.loads(line)
            if num_answers % max(1, asked.rows // 10) == 0:
                seconds = time.perf_counter() - began
                memory = resident_mb(process.pid)
                print(f"{num_answers:10,} rows, {seconds:7.1f} s: {memory:8.1f} MB", flush=True)
        _, status, used = os.wait4(process.pid, 0)
        print(
            f"{num_answers:,} answers of {asked.rows:,} rows, {num_errors:,} of them errors, "
            f"peak {peak_mb(used):,.1f} MB, exit {os.waitstatus_to_exitcode(status)}"
        )


if __name__ == "__main__":
    main()
