"""Programs of model cards, run as their reader runs them, where limbeck is not installed."""

import subprocess
import sys
from pathlib import Path

PROGRAM = "program.py"
# Found before any other, for a program's own folder is looked through first.
ABSENT = 'raise ModuleNotFoundError("No module named \'limbeck\'", name="limbeck")\n'


def run_program(code: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """A program that ran in a folder, by its exit status and what it printed."""
    (folder / PROGRAM).write_text(code, encoding="utf-8")
    (folder / "limbeck.py").write_text(ABSENT)
    # Nothing of PYTHONPATH nor of the user's own packages, and nothing compiled left behind.
    command = [sys.executable, "-B", "-E", "-s", "-X", "utf8", PROGRAM]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    # What is loaded afterwards is limbeck itself, and the artifact as it was.
    (folder / "limbeck.py").unlink()
    return ended
