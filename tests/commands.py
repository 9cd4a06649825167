"""Verbs of the command line, run in this process."""

from typing import Any

import pytest

from limbeck.cli import main


def call(*arguments: Any) -> int:
    """The exit status of `limbeck arguments`."""
    return main.exit_status([str(argument) for argument in arguments])


def mistake(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """The message of a command that fails with 2."""
    status = call(*arguments)
    written = capsys.readouterr().err
    assert status == 2, written
    assert "Traceback" not in written
    lines = [
        line for line in written.splitlines() if not line.startswith("{")
    ]  # JSON lines of the progress
    assert 1 <= len(lines) <= 12
    return "\n".join(lines)
