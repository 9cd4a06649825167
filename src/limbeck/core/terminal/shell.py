"""Commands as a user can paste them into the shell that this process was started from."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

PROGRAM = "limbeck"


def command(verb: str, *words: str | Path) -> str:
    """A line that runs a verb of limbeck here; `words` are quoted where a shell would split them.

    >>> command("check", "my data.yaml").removeprefix(program())
    " check 'my data.yaml'"
    """
    return " ".join([program(), verb, *map(quoted, words)])


def quoted(word: str | Path) -> str:
    """A path or another word as the shell of this system takes it for one."""
    # The shell of Windows knows no single quotes.
    if sys.platform == "win32":
        return subprocess.list2cmdline([str(word)])
    return shlex.quote(str(word))


def script(code: str) -> str:
    """A line that runs Python code, which may hold names of files as texts, on any system."""
    return f"{quoted(sys.executable)} -c {quoted(code)}"


def program() -> str:
    """What starts limbeck here: its name where that is found, else the path it was started by.

    `make demo` runs `.venv/bin/limbeck` for users whose shell knows no `limbeck`.
    """
    started = Path(sys.argv[0])
    found = shutil.which(PROGRAM)
    if started.stem == PROGRAM:
        # By the folder: on Windows the file's name ends on .exe and the one given may not.
        is_found = found is not None and Path(found).parent.resolve() == started.parent.resolve()
        return PROGRAM if is_found else quoted(started)
    # Not `python -m limbeck` where another program called it, such as a notebook.
    if found is None and started.name == "__main__.py" and started.parent.name == PROGRAM:
        return f"{quoted(sys.executable)} -m {PROGRAM}"
    return PROGRAM
